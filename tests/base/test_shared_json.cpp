#include <gtest/gtest.h>

#include <map>
#include <nlohmann/json.hpp>
#include <stdexcept>

#include "sae/base/shared_json.h"

namespace sae {
namespace {

using Json = nlohmann::ordered_json;

TEST(SharedJson, ComparesByWhatItSays) {
  const SharedJson one = Json{{"k", 4}};
  const SharedJson same = Json{{"k", 4}};
  EXPECT_EQ(one, same);
  EXPECT_NE(one, SharedJson(Json{{"k", 5}}));
  EXPECT_NE(one, SharedJson());
  EXPECT_EQ(SharedJson(), SharedJson());
  std::map<SharedJson, int> keyed = {{one, 1}};
  EXPECT_EQ(keyed.count(same), 1U);
  EXPECT_EQ(keyed.count(SharedJson(Json(4))), 0U);
}

TEST(SharedJson, HoldsNothingUntilGivenSomething) {
  const SharedJson none;
  EXPECT_FALSE(none);
  EXPECT_EQ(none.text(), "");
  EXPECT_THROW(*none, std::logic_error);
  const SharedJson null = Json(nullptr);
  EXPECT_TRUE(null) << "null is a value";
  EXPECT_EQ(null.text(), "null");
  EXPECT_EQ(SharedJson(Json("a \xff")).text(), "\"a \xef\xbf\xbd\"") << "what is no UTF-8";
}

}  // namespace
}  // namespace sae
