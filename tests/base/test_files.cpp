#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <unistd.h>

#include <csignal>
#include <fstream>
#include <system_error>

#include "sae/base/error.h"
#include "sae/base/files.h"
#include "sae/base/sha256.h"
#include "support/temporary_folder.h"

namespace sae {
namespace {

namespace fs = std::filesystem;

class Files : public testing::Test {
 protected:
  fs::path folder() const { return temporary_.path(); }
  std::size_t entries() const {
    return static_cast<std::size_t>(
        std::distance(fs::directory_iterator(folder()), fs::directory_iterator()));
  }

 private:
  TemporaryFolder temporary_;
};

/// Lets no file of this process grow past `bytes`: what a full disk looks like.
class FullDisk {
 public:
  explicit FullDisk(rlim_t bytes) : handler_(std::signal(SIGXFSZ, SIG_IGN)) {
    getrlimit(RLIMIT_FSIZE, &before_);
    const rlimit limit{bytes, before_.rlim_max};
    setrlimit(RLIMIT_FSIZE, &limit);
  }
  FullDisk(const FullDisk&) = delete;
  FullDisk& operator=(const FullDisk&) = delete;
  ~FullDisk() {
    setrlimit(RLIMIT_FSIZE, &before_);
    std::signal(SIGXFSZ, handler_);
  }

 private:
  rlimit before_{};
  void (*handler_)(int);
};

template <class Error, class Action>
std::string message_of(Action action) {
  try {
    action();
  } catch (const Error& error) {
    return error.what();
  }
  return "nothing was thrown";
}

TEST_F(Files, WritesWhatIsReadBack) {
  const std::string bytes("a\0b\n", 4);
  write_file_atomically(folder() / "file", bytes);
  EXPECT_EQ(read_file(folder() / "file"), bytes);
  write_file_atomically(folder() / "file", "");
  EXPECT_EQ(read_file(folder() / "file"), "");
  EXPECT_EQ(entries(), 1U);
}

TEST_F(Files, NamesTheFileThatCannotBeRead) {
  const std::string path = (folder() / "absent").string();
  const std::string expected = path + ": cannot read: No such file or directory";
  EXPECT_EQ(message_of<DataError>([&] { read_file(path); }), expected);
  EXPECT_EQ(message_of<DataError>([&] { MappedFile{path}; }), expected);
  EXPECT_EQ(message_of<DataError>([&] { MappedFile{folder()}; }),
            folder().string() + ": cannot read: not a regular file");
}

TEST_F(Files, AFailedWriteNamesTheFileAndKeepsTheOldOne) {
  const fs::path path = folder() / "state.json";
  write_file_atomically(path, "old");
  const FullDisk full(1000);
  const std::string message =
      message_of<std::system_error>([&] { write_file_atomically(path, std::string(2000, 'x')); });
  EXPECT_EQ(message, path.string() + ": cannot write: File too large");
  EXPECT_EQ(read_file(path), "old");
  EXPECT_EQ(entries(), 1U);
}

TEST_F(Files, AnUnwritableFolderIsNamed) {
  write_file_atomically(folder() / "file", "");
  const fs::path path = folder() / "file" / "below";
  EXPECT_EQ(message_of<std::system_error>([&] { write_file_atomically(path, "x"); }),
            path.string() + ": cannot write: Not a directory");
  EXPECT_EQ(message_of<std::system_error>([&] { StagedDirectory{path / "deeper"}; }),
            (path / "deeper").string() + ": cannot write: Not a directory");
}

TEST_F(Files, AnUncommittedFileLeavesNothing) {
  { AtomicFile(folder() / "file").append("x"); }
  EXPECT_EQ(entries(), 0U);
}

TEST_F(Files, AStagedFolderAppearsOnlyWhenCommitted) {
  const fs::path target = folder() / "parent" / "target";
  StagedDirectory staged(target);
  fs::create_directory(staged.path() / "inner");
  write_file_atomically(staged.path() / "inner" / "file", "x");
  EXPECT_FALSE(fs::exists(target));
  staged.commit();
  EXPECT_EQ(read_file(target / "inner" / "file"), "x");
  EXPECT_FALSE(fs::exists(staged.path()));
}

TEST_F(Files, ADroppedStagedFolderLeavesNothing) {
  {
    StagedDirectory staged(folder() / "target");
    write_file_atomically(staged.path() / "file", "x");
  }
  EXPECT_EQ(entries(), 0U);
}

TEST_F(Files, AStagedFolderNeverReplacesAnExistingOne) {
  const fs::path target = folder() / "target";
  StagedDirectory staged(target);
  fs::create_directory(target);
  const std::string expected = target.string() + ": cannot write: File exists";
  EXPECT_EQ(message_of<std::system_error>([&] { staged.commit(); }), expected);
  EXPECT_EQ(message_of<std::system_error>([&] { StagedDirectory{target / ""}; }), expected);
}

TEST_F(Files, StaleStagingIsRemovedAndLiveStagingIsNot) {
  fs::create_directories(folder() / ".tmp-run-4242" / "inner");
  write_file_atomically(folder() / ".tmp-file-17", "x");
  write_file_atomically(folder() / ".tmp-not-ours", "x");
  const StagedDirectory first(folder() / "first");
  const AtomicFile file(folder() / "second");
  const StagedDirectory third(folder() / "third");
  EXPECT_FALSE(fs::exists(folder() / ".tmp-run-4242"));
  EXPECT_FALSE(fs::exists(folder() / ".tmp-file-17"));
  EXPECT_TRUE(fs::exists(folder() / ".tmp-not-ours"));
  EXPECT_TRUE(fs::exists(first.path()));
  EXPECT_EQ(entries(), 4U);
}

TEST_F(Files, AMappedFileNoticesChangeAndDisappearance) {
  const fs::path path = folder() / "file";
  write_file_atomically(path, "before");
  const MappedFile file(path);
  EXPECT_EQ(file.bytes(), "before");
  EXPECT_NO_THROW(file.check_unchanged());
  write_file_atomically(path, "after!");
  EXPECT_EQ(message_of<DataError>([&] { file.check_unchanged(); }),
            path.string() + ": changed while in use");
  EXPECT_EQ(file.bytes(), "before");
  fs::remove(path);
  EXPECT_EQ(message_of<DataError>([&] { file.check_unchanged(); }),
            path.string() + ": vanished while in use: No such file or directory");
}

TEST_F(Files, AnEmptyFileMapsToNoBytes) {
  write_file_atomically(folder() / "file", "");
  EXPECT_TRUE(MappedFile(folder() / "file").bytes().empty());
}

// Vectors of FIPS 180-4's companion document and of the NIST test suite.
TEST(Sha256, AgreesWithNistVectors) {
  EXPECT_EQ(sha256_hex(""), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  EXPECT_EQ(sha256_hex("abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  EXPECT_EQ(sha256_hex("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq"),
            "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
  EXPECT_EQ(sha256_hex(std::string(1'000'000, 'a')),
            "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
}

TEST(Sha256, DoesNotDependOnHowTheBytesArrive) {
  std::string bytes;
  for (int i = 0; i < 300; ++i) bytes.push_back(static_cast<char>(i * 37));
  for (std::size_t size : {55U, 56U, 63U, 64U, 65U, 119U, 128U, 300U}) {
    const std::string whole = bytes.substr(0, size);
    for (std::size_t piece : {1U, 7U, 64U, 100U}) {
      Sha256 hash;
      for (std::size_t at = 0; at < size; at += piece) hash.update(whole.substr(at, piece));
      EXPECT_EQ(hash.hex(), sha256_hex(whole)) << size << " bytes in pieces of " << piece;
    }
  }
}

TEST(Sha256, ThePortableLoopAgreesToo) {
  std::string padded = "abc\x80" + std::string(59, '\0') + '\x18';
  std::array<std::uint32_t, 8> state = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a,
                                        0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};
  sha256_compress_portable(state, reinterpret_cast<const unsigned char*>(padded.data()), 1);
  const std::array<std::uint32_t, 8> digest = {0xba7816bf, 0x8f01cfea, 0x414140de, 0x5dae2223,
                                               0xb00361a3, 0x96177a9c, 0xb410ff61, 0xf20015ad};
  EXPECT_EQ(state, digest);
}

}  // namespace
}  // namespace sae
