#include "arguments.h"

#include <algorithm>
#include <charconv>

#include "sae/base/text.h"

namespace sae_cli {
namespace {

std::string got(const std::string& value) { return "got " + sae::quoted(value) + ", expected "; }

/// Whether `text` is a number of this type from its first to its last character.
template <class Number>
std::optional<Number> whole(const std::string& text) {
  Number value = 0;
  const char* const end = text.data() + text.size();
  const auto result = std::from_chars(text.data(), end, value);
  if (result.ec != std::errc() || result.ptr != end) return std::nullopt;
  return value;
}

CLI::Validator not_empty() {
  return {[](std::string& value) {
            return value.empty() ? std::string("got nothing, expected a value") : std::string();
          },
          ""};
}

CLI::Option* described(CLI::Option* option, const char* kind) {
  return option->type_name(kind)->check(not_empty());
}

}  // namespace

CLI::Option* add_text(CLI::App* command, const std::string& names, std::string& place,
                      const char* kind, const std::string& meaning) {
  return described(command->add_option(names, place, meaning), kind);
}

CLI::Option* add_texts(CLI::App* command, const std::string& names, std::vector<std::string>& place,
                       const char* kind, const std::string& meaning) {
  return described(command->add_option(names, place, meaning)->allow_extra_args(false), kind);
}

CLI::Option* add_list(CLI::App* command, const std::string& name, std::vector<std::string>& place,
                      const char* kind, const std::string& meaning) {
  return described(command->add_option(name, place, meaning), kind);
}

CLI::Option* add_number(CLI::App* command, const std::string& names, std::int64_t& place,
                        std::int64_t least, const std::string& meaning) {
  const auto check = [least](std::string& value) {
    const auto number = whole<std::int64_t>(value);
    if (number && *number >= least) return std::string();
    return got(value) + "a whole number, " +
           (least == 0 ? "0 or more" : std::to_string(least) + " or more");
  };
  return command->add_option(names, place, meaning)
      ->type_name(kNumber)
      ->check(CLI::Validator(check, ""));
}

CLI::Option* add_sets(CLI::App* command, std::vector<std::string>& place,
                      const std::string& meaning) {
  return command->add_option("--set", place, meaning)
      ->allow_extra_args(false)
      ->type_name("KEY=VALUE");
}

CLI::Validator one_of(const std::vector<std::string>& names) {
  const auto check = [names](std::string& value) {
    const bool known = std::find(names.begin(), names.end(), value) != names.end();
    return known ? std::string() : sae::expected_one_of(value, names);
  };
  return {check, "{" + sae::joined(names, ",") + "}"};
}

CLI::Validator number_between(double least, double most) {
  const auto check = [least, most](std::string& value) {
    const auto number = whole<double>(value);
    if (number && *number >= least && *number <= most) return std::string();
    return got(value) + "a number from " + sae::shortest(least) + " to " + sae::shortest(most);
  };
  return {check, ""};
}

std::vector<std::string> choices_of(const CLI::Option* option) {
  const std::string type = option->get_type_name();  // "NAME:{auto,on,off}"
  const std::size_t begin = type.find(":{");
  if (begin == std::string::npos) return {};
  return CLI::detail::split(type.substr(begin + 2, type.size() - begin - 3), ',');
}

}  // namespace sae_cli
