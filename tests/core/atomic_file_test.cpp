#include "core/atomic_file.h"

#include <sys/resource.h>
#include <sys/stat.h>

#include <csignal>

#include "core/input_file.h"
#include "tests/support/support.h"

namespace lacuna::testing {
namespace {

namespace fs = std::filesystem;

/// Files of this process cannot grow beyond `bytes`: writing fails as it does on a full disk.
class FileSizeLimit {
 public:
  explicit FileSizeLimit(rlim_t bytes) {
    getrlimit(RLIMIT_FSIZE, &before_);
    handler_ = std::signal(SIGXFSZ, SIG_IGN);
    const rlimit now{bytes, before_.rlim_max};
    CHECK(setrlimit(RLIMIT_FSIZE, &now) == 0, "cannot limit file sizes");
  }
  ~FileSizeLimit() {
    setrlimit(RLIMIT_FSIZE, &before_);
    std::signal(SIGXFSZ, handler_);
  }

 private:
  rlimit before_{};
  void (*handler_)(int);
};

TEST(AtomicFile, AppearsOnCommit) {
  const Folder folder;
  {
    AtomicFile file(folder / "x");
    EXPECT_EQ(file.partial().string(), folder / "x.partial");
    std::ofstream(file.partial()) << "new";
    EXPECT_FALSE(fs::exists(folder / "x"));
    file.commit();
    EXPECT_EQ(read_file(folder / "x"), "new");
  }
  EXPECT_EQ(folder.files(), std::vector<std::string>{"x"});
}

TEST(AtomicFile, LeavesTheOldFileWithoutCommit) {
  const Folder folder;
  folder.write("x", "old");
  {
    AtomicFile file(folder / "x");
    std::ofstream(file.partial()) << "new";
  }
  EXPECT_EQ(read_file(folder / "x"), "old");
  EXPECT_EQ(folder.files(), std::vector<std::string>{"x"});
}

TEST(AtomicFile, ReplacesTheOldFileAndALeftover) {
  const Folder folder;
  folder.write("x", "old");
  folder.write("x.partial", "left by a run that was killed");
  write_file(folder / "x", "new");
  EXPECT_EQ(read_file(folder / "x"), "new");
  EXPECT_EQ(folder.files(), std::vector<std::string>{"x"});
}

TEST(AtomicFile, MakesMissingFolders) {
  const Folder folder;
  write_file(folder / "a/b/c", "deep");
  EXPECT_EQ(read_file(folder / "a/b/c"), "deep");
}

TEST(AtomicFile, KeepsEveryByte) {
  const Folder folder;
  std::string bytes;
  for (int i = 0; i < 70000; ++i) bytes += char(i * 7 + i / 256);
  write_file(folder / "x", bytes);
  EXPECT_EQ(read_file(folder / "x"), bytes);
  write_file(folder / "x", "");
  EXPECT_EQ(read_file(folder / "x"), "");
}

TEST(AtomicFile, OnAFullDiskLeavesTheOldFile) {
  const Folder folder;
  folder.write("x", "old");
  const std::string much(1 << 20, 'x');
  {
    const FileSizeLimit limit(1 << 16);
    EXPECT_EQ(error_of([&] { write_file(folder / "x", much); }),
              folder / "x" + ": cannot write: File too large");
    EXPECT_EQ(error_of([&] { write_file(folder / "y", much); }),
              folder / "y" + ": cannot write: File too large");
  }
  EXPECT_EQ(read_file(folder / "x"), "old");
  EXPECT_EQ(folder.files(), std::vector<std::string>{"x"});
}

TEST(AtomicFile, WritesWhereALinkPoints) {
  const Folder folder;
  folder.write("file", "old");
  fs::create_symlink(folder / "file", folder / "link");
  write_file(folder / "link", "new");
  EXPECT_TRUE(fs::is_symlink(folder / "link"));
  EXPECT_EQ(read_file(folder / "file"), "new");
}

TEST(AtomicFile, LeavesPipesAndDevicesAlone) {
  const Folder folder;
  const std::string pipe = folder / "pipe";
  ASSERT_EQ(mkfifo(pipe.c_str(), 0600), 0);
  EXPECT_EQ(error_of([&] { write_file(pipe, "x"); }), pipe + ": is a device or pipe, not a file");
  EXPECT_TRUE(fs::is_fifo(pipe));
}

TEST(AtomicFile, SaysWhyItCannotWrite) {
  const Folder folder;
  folder.write("file", "");
  fs::create_directory(folder / "sub");
  EXPECT_EQ(error_of([&] { write_file(folder / "sub", "x"); }),
            folder / "sub" + ": is a folder, not a file");
  EXPECT_TRUE(contains(error_of([&] { write_file(folder / "file/x", "x"); }),
                       folder / "file" + ": cannot create the folder: Not a directory"));
  EXPECT_TRUE(contains(error_of([&] { write_file("/proc/lacuna", "x"); }), "/proc/lacuna: cannot"));
  EXPECT_TRUE(contains(error_of([&] {
                         AtomicFile file(folder / "z");
                         fs::remove(file.partial());
                         file.commit();
                       }),
                       "z.partial is no longer the file that was created"));
}

TEST(AtomicFile, DoesNotFollowALinkUnderThePartialName) {
  const Folder folder;
  folder.write("victim", "precious");
  fs::create_symlink(folder / "victim", folder / "x.partial");
  write_file(folder / "x", "new");
  EXPECT_EQ(read_file(folder / "victim"), "precious");
  EXPECT_EQ(read_file(folder / "x"), "new");
  EXPECT_FALSE(fs::is_symlink(folder / "x"));
  fs::create_symlink(folder / "nothing", folder / "y.partial");
  write_file(folder / "y", "new");
  EXPECT_FALSE(fs::exists(folder / "nothing"));
  ASSERT_EQ(mkfifo((folder / "z.partial").c_str(), 0600), 0);
  write_file(folder / "z", "new");
  EXPECT_EQ(read_file(folder / "z"), "new");
  fs::create_directory(folder / "w.partial");
  EXPECT_TRUE(contains(error_of([&] { write_file(folder / "w", "new"); }),
                       folder / "w" + ": cannot write "));
}

TEST(AtomicFile, OfTwoWritersOneFailsAndTheFileIsWhole) {
  const Folder folder;
  AtomicFile first(folder / "x");
  std::ofstream(first.partial()) << "first";
  AtomicFile second(folder / "x");
  std::ofstream(second.partial()) << "sec";
  EXPECT_TRUE(contains(error_of([&] { first.commit(); }), "does another process write it, too?"));
  EXPECT_FALSE(fs::exists(folder / "x"));
  second.commit();
  EXPECT_EQ(read_file(folder / "x"), "sec");
}

}  // namespace
}  // namespace lacuna::testing
