#include "sae/base/shared_json.h"

#include <nlohmann/json.hpp>
#include <stdexcept>
#include <utility>

namespace sae {

using Json = nlohmann::ordered_json;

SharedJson::SharedJson(Json value) : value_(std::make_shared<const Json>(std::move(value))) {}

const Json& SharedJson::operator*() const {
  if (!value_) throw std::logic_error("SharedJson: no value");
  return *value_;
}

std::string SharedJson::text() const {
  return value_ ? value_->dump(-1, ' ', false, Json::error_handler_t::replace) : "";
}

bool SharedJson::operator==(const SharedJson& other) const {
  if (!value_ || !other.value_) return !value_ == !other.value_;
  return value_ == other.value_ || *value_ == *other.value_;
}

std::strong_ordering SharedJson::operator<=>(const SharedJson& other) const {
  return text() <=> other.text();
}

}  // namespace sae
