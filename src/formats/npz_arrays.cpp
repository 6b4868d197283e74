#include "formats/npz_arrays.h"

#include <vector>

#include "formats/zip.h"
#include "sae/base/error.h"
#include "sae/base/text.h"

namespace sae {

void visit_npz(std::string_view file, const std::string& place, const NpzVisitor& visit) {
  constexpr std::string_view kSuffix = ".npy";
  const std::vector<ZipEntry> entries = parse_zip(file, place);
  for (const ZipEntry& entry : entries) {
    if (!entry.name.ends_with(kSuffix)) {
      throw DataError(place + ": zip entry '" + printable(entry.name) +
                      "', expected arrays (names that end with .npy), as in a .npz");
    }
  }
  for (const ZipEntry& entry : entries) {
    const std::string name = entry.name.substr(0, entry.name.size() - kSuffix.size());
    std::string buffer;
    const std::string_view contents = zip_contents(entry, buffer, place);
    const NpyArray array = parse_npy_array(contents, place + ": " + printable(entry.name));
    visit(name, array, contents.substr(array.begin));
  }
}

}  // namespace sae
