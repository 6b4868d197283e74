// Command lines as text: words that a shell reads back as they were.
#pragma once

#include <string>

namespace sae_cli {

/// `text` as one word of a shell's command line.
std::string shell_word(const std::string& text);

/// " --out runs/topk"; " --out=-x" for a value that would look like an option.
std::string option_words(const std::string& option, const std::string& value);

}  // namespace sae_cli
