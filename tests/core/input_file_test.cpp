#include "core/input_file.h"

#include <fcntl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <thread>

#include "tests/support/support.h"

namespace lacuna::testing {
namespace {

namespace fs = std::filesystem;

std::string fifo(const Folder& folder, const std::string& name) {
  const std::string path = folder / name;
  CHECK(mkfifo(path.c_str(), 0600) == 0, "cannot make a FIFO");
  return path;
}

/// A socket of the file system, which lives as long as the object.
class Socket {
 public:
  explicit Socket(const std::string& path) : fd_(socket(AF_UNIX, SOCK_STREAM, 0)) {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    CHECK(path.size() < sizeof address.sun_path, "the path is too long");
    path.copy(address.sun_path, path.size());
    CHECK(bind(fd_, reinterpret_cast<sockaddr*>(&address), sizeof address) == 0, "cannot bind");
  }
  ~Socket() { close(fd_); }
  Socket(const Socket&) = delete;
  Socket& operator=(const Socket&) = delete;

 private:
  int fd_;
};

TEST(InputFile, IsARegularFile) {
  const Folder folder;
  const std::string path = folder.write("x", std::string("a\0b", 3));
  const InputFile file(path);
  EXPECT_EQ(file.bytes(), 3);
  EXPECT_EQ(file.begin(2), std::string("a\0", 2));
  EXPECT_EQ(file.begin(100), std::string("a\0b", 3));
  EXPECT_EQ(read_file(path), std::string("a\0b", 3));
  fs::create_symlink(path, folder / "link");
  EXPECT_EQ(read_file(folder / "link"), std::string("a\0b", 3));
  EXPECT_EQ(read_file(folder.write("empty", "")), "");
}

TEST(InputFile, HoldsEveryByteOfALargeOne) {
  const Folder folder;
  std::string bytes;
  for (int i = 0; i < 300'000; ++i) bytes += char(i * 7 + i / 256);
  EXPECT_EQ(read_file(folder.write("x", bytes)), bytes);
}

// None of these waits: a test that did would end by ctest's limit.
TEST(InputFile, RefusesWhatIsNoFile) {
  const Folder folder;
  const std::string pipe = fifo(folder, "pipe");
  EXPECT_EQ(error_of([&] { InputFile file(pipe); }), pipe + ": is not a regular file but a FIFO");
  EXPECT_EQ(error_of([&] { read_file(pipe); }), pipe + ": is not a regular file but a FIFO");
  EXPECT_EQ(error_of([&] { read_named_file(pipe); }), pipe + ": is not a regular file but a FIFO");
  fs::create_symlink(pipe, folder / "link");
  EXPECT_TRUE(contains(error_of([&] { read_file(folder / "link"); }), "but a FIFO"));
  EXPECT_EQ(error_of([&] { read_file("/dev/zero"); }),
            "/dev/zero: is not a regular file but a device");
  EXPECT_EQ(error_of([&] { read_named_file("/dev/zero"); }),
            "/dev/zero: is not a regular file but a device");
  const Socket socket(folder / "socket");
  EXPECT_EQ(error_of([&] { read_file(folder / "socket"); }),
            folder / "socket" + ": is not a regular file but a socket");
  fs::create_directory(folder / "sub");
  EXPECT_EQ(error_of([&] { read_file(folder / "sub"); }),
            folder / "sub" + ": is a folder, not a file");
  EXPECT_EQ(error_of([&] { read_file(folder / "none"); }),
            folder / "none" + ": No such file or directory");
  fs::create_symlink(folder / "loop", folder / "loop");
  EXPECT_TRUE(contains(error_of([&] { read_file(folder / "loop"); }), "symbolic links"));
}

TEST(InputFile, IsNotReadWholeWhenItIsTooLarge) {
  const Folder folder;
  const std::string path = folder.write("sparse", "");
  fs::resize_file(path, std::uintmax_t(kLargestWholeFile) + 1);
  EXPECT_EQ(error_of([&] { read_file(path); }),
            path + ": has 1.00 GiB; at most 1.00 GiB are read of such a file");
}

TEST(NamedFile, MayBeAPipeThatIsOpen) {
  int ends[2];
  ASSERT_EQ(pipe(ends), 0);
  const std::string much(200'000, 'x');  // more than a pipe holds
  std::thread writer([&] {
    for (std::size_t at = 0; at < much.size();)
      at += std::size_t(write(ends[1], much.data() + at, much.size() - at));
    close(ends[1]);
  });
  EXPECT_EQ(read_named_file("/dev/fd/" + std::to_string(ends[0])), much);
  writer.join();
  // But not as a file of a folder.
  EXPECT_TRUE(contains(error_of([&] { read_file("/dev/fd/" + std::to_string(ends[0])); }),
                       "is not a regular file but a FIFO"));
  close(ends[0]);
  EXPECT_EQ(read_named_file("/dev/null"), "");
}

TEST(DataSource, MayBeAFilePipeOrFifo) {
  const Folder folder;
  EXPECT_EQ(error_of([&] { check_data_source(folder.write("x", "")); }), "");
  EXPECT_EQ(error_of([&] { check_data_source(fifo(folder, "pipe")); }), "");
  EXPECT_EQ(error_of([&] { check_data_source("/dev/null"); }), "");
  EXPECT_EQ(error_of([&] { check_data_source("/dev/zero"); }),
            "/dev/zero: is not a regular file but a device");
  EXPECT_EQ(error_of([&] { check_data_source(folder / "."); }),
            folder / "." + ": is a folder, not a file");
  EXPECT_EQ(error_of([&] { check_data_source(folder / "none"); }),
            folder / "none" + ": No such file or directory");
}

}  // namespace
}  // namespace lacuna::testing
