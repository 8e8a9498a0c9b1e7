// Writes that fail: a limit on file sizes, and a file system that is full.
#include <fcntl.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>

#include "formats/safetensors.h"
#include "tests/checkpoint/support.h"

namespace lacuna {
namespace {

namespace fs = std::filesystem;
using testing::contains;
using testing::error_of;
using testing::Folder;
using testing::SampleCheckpoint;

/// While it lives, no file can grow beyond `bytes`: writing then fails with EFBIG.
class FileSizeLimit {
 public:
  explicit FileSizeLimit(std::int64_t bytes) : handler_(std::signal(SIGXFSZ, SIG_IGN)) {
    ::getrlimit(RLIMIT_FSIZE, &before_);
    const rlimit limit{rlim_t(bytes), before_.rlim_max};
    ::setrlimit(RLIMIT_FSIZE, &limit);
  }
  ~FileSizeLimit() {
    ::setrlimit(RLIMIT_FSIZE, &before_);
    std::signal(SIGXFSZ, handler_);
  }
  FileSizeLimit(const FileSizeLimit&) = delete;
  FileSizeLimit& operator=(const FileSizeLimit&) = delete;

 private:
  void (*handler_)(int);
  rlimit before_{};
};

std::string error_within(std::int64_t bytes, const std::function<void()>& call) {
  const FileSizeLimit limit(bytes);
  return error_of(call);
}

TEST(FullDisk, a_checkpoint_appears_whole_or_not_at_all) {
  const Folder folder;
  const std::string path = folder / "a.h5";
  const SampleCheckpoint old(1), sample(2);
  sample.save(path);
  const auto whole = std::int64_t(fs::file_size(path));
  old.save(path);
  for (std::int64_t limit = 0; limit < whole; limit += 1999) {
    const std::string message = error_within(limit, [&] { sample.save(path); });
    ASSERT_TRUE(contains(message, path)) << limit << " of " << whole;
    ASSERT_TRUE(contains(message, "File too large")) << limit << " of " << whole;
    ASSERT_EQ(folder.files(), std::vector<std::string>{"a.h5"});
  }
  EXPECT_TRUE(old.matches(CheckpointReader(path)));
  // Nor was the library harmed. On its way a file may be somewhat larger than in the end.
  EXPECT_EQ(error_within(2 * whole, [&] { sample.save(path); }), "");
  EXPECT_TRUE(sample.matches(CheckpointReader(path)));
}

TEST(FullDisk, rows_and_appended_parts) {
  const Folder folder;
  testing::Tensors own;
  const Tensor part = own.random({50'000}, DType::i32);
  const std::string path = folder / "a.h5";
  for (const std::int64_t limit : {0, 100'000, 150'000, 500'000, 900'000}) {
    const std::string message = error_within(limit, [&] {
      h5::FileWriter file(path);
      file.create("tokens", {0}, DType::i32, true);
      for (int i = 0; i < 5; ++i) file.append("tokens", part);
      file.close();
    });
    EXPECT_TRUE(contains(message, "File too large")) << limit;
  }
}

TEST(FullDisk, a_safetensors_file_appears_whole_or_not_at_all) {
  const Folder folder;
  testing::Tensors own;
  const std::string path = folder / "a.safetensors";
  const std::vector<NamedTensor> tensors = {{"a", own.random({100, 30})}, {"b", own.random({7})}};
  write_safetensors(path, tensors);
  const auto whole = std::int64_t(fs::file_size(path));
  fs::remove(path);
  for (std::int64_t limit = 0; limit < whole; limit += 997) {
    const std::string message = error_within(limit, [&] { write_safetensors(path, tensors); });
    ASSERT_TRUE(contains(message, path + ": cannot write: File too large")) << limit;
    ASSERT_TRUE(folder.files().empty()) << limit;
  }
  EXPECT_EQ(error_within(whole, [&] { write_safetensors(path, tensors); }), "");
}

/// A file system of `kilobytes` at `at`, seen by this process alone; false when not permitted.
bool mount_small(const fs::path& at, int kilobytes) {
  const auto mounted = [&] {
    return ::mount("lacuna", at.c_str(), "tmpfs", 0, str("size=", kilobytes, 'k').c_str()) == 0;
  };
  const auto write = [](const char* file, const std::string& text) {
    const int fd = ::open(file, O_WRONLY);
    const bool written = fd >= 0 && ::write(fd, text.data(), text.size()) == ssize_t(text.size());
    ::close(fd);
    return written;
  };
  const uid_t user = ::getuid();
  const gid_t group = ::getgid();
  if (::unshare(CLONE_NEWNS) == 0)
    return ::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) == 0 && mounted();
  return ::unshare(CLONE_NEWUSER | CLONE_NEWNS) == 0 &&
         write("/proc/self/uid_map", str("0 ", user, " 1")) &&
         write("/proc/self/setgroups", "deny") &&
         write("/proc/self/gid_map", str("0 ", group, " 1")) && mounted();
}

constexpr int kNotPermitted = 77;

int save_on_a_full_file_system(const fs::path& at) {
  if (!mount_small(at, 256)) return kNotPermitted;
  const fs::path path = at / "a.h5";
  const SampleCheckpoint small(1), large(2, 20'000);  // 0.2 and 1.6 MB
  small.save(path);
  const std::string message = error_of([&] { large.save(path); });
  if (!contains(message, "cannot write: No space left on device")) {
    std::fprintf(stderr, "%s\n", message.c_str());
    return 1;
  }
  if (fs::exists(path.string() + ".partial")) return 2;
  return small.matches(CheckpointReader(path)) ? 0 : 3;
}

TEST(FullDisk, no_space_left_on_the_device) {
  const Folder folder;
  const fs::path at = folder / "disk";
  fs::create_directory(at);
  const pid_t child = ::fork();  // what it mounts goes with it
  ASSERT_GE(child, 0);
  if (child == 0) {
    try {
      _exit(save_on_a_full_file_system(at));
    } catch (const std::exception& e) {
      std::fprintf(stderr, "%s\n", e.what());
      _exit(4);
    }
  }
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  ASSERT_TRUE(WIFEXITED(status));
  if (WEXITSTATUS(status) == kNotPermitted)
    GTEST_SKIP() << "mounting a small file system is not permitted here";
  EXPECT_EQ(WEXITSTATUS(status), 0);
}

}  // namespace
}  // namespace lacuna
