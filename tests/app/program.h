#pragma once
#include <fcntl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <string>
#include <thread>
#include <vector>

#include "core/atomic_file.h"
#include "core/check.h"
#include "tests/support/paths.h"
#include "tests/support/support.h"

namespace lacuna::testing {

/// The built program, run as a user runs it. Its output goes to files of a folder of its own.
class Program {
 public:
  /// `standard_input`: a file; "": the test's own. `launcher`: what starts it, with its options.
  explicit Program(const std::vector<std::string>& arguments, rlim_t largest_file = RLIM_INFINITY,
                   const std::string& standard_input = "",
                   const std::vector<std::string>& launcher = {}) {
    process_ = fork();
    CHECK(process_ >= 0, "fork: ", std::strerror(errno));
    if (process_ > 0) return;
    redirect(out_, STDOUT_FILENO);
    redirect(err_, STDERR_FILENO);
    if (!standard_input.empty()) dup2(open(standard_input.c_str(), O_RDONLY), STDIN_FILENO);
    if (largest_file != RLIM_INFINITY) {
      const rlimit limit{largest_file, largest_file};
      setrlimit(RLIMIT_FSIZE, &limit);
    }
    std::vector<std::string> words = launcher;
    // The variable: where a carried build lies (scripts/gpu_check.sh).
    const char* carried = std::getenv("LACUNA_PROGRAM");
    words.emplace_back(carried ? std::string(carried) : testing::program_path());
    words.insert(words.end(), arguments.begin(), arguments.end());
    std::vector<char*> argv;
    for (std::string& word : words) argv.push_back(word.data());
    argv.push_back(nullptr);
    execvp(argv[0], argv.data());
    _exit(127);
  }
  ~Program() {
    if (!ended_) {
      kill(process_, SIGKILL);
      waitpid(process_, nullptr, 0);
    }
  }
  Program(const Program&) = delete;
  Program& operator=(const Program&) = delete;

  void send(int signal) const { kill(process_, signal); }
  pid_t process() const { return process_; }
  bool running() { return !poll(); }
  /// Until standard error holds `text`, or the program has ended.
  void wait_for(const std::string& text) {
    while (!poll() && err().find(text) == std::string::npos)
      std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
  /// The exit code; 128 + the signal that ended it. A program that should have ended long since is
  /// killed, so that it is not waited for in vain.
  int wait() {
    const auto start = std::chrono::steady_clock::now();
    while (!poll()) {
      std::this_thread::sleep_for(std::chrono::milliseconds(2));
      if (std::chrono::steady_clock::now() - start > std::chrono::seconds(120)) send(SIGKILL);
    }
    return WIFEXITED(status_) ? WEXITSTATUS(status_) : 128 + WTERMSIG(status_);
  }
  std::string out() const { return read_file(out_); }
  std::string err() const { return read_file(err_); }

 private:
  static void redirect(const std::string& path, int descriptor) {
    dup2(open(path.c_str(), O_WRONLY | O_CREAT | O_APPEND, 0666), descriptor);
  }
  bool poll() {
    if (!ended_) ended_ = waitpid(process_, &status_, WNOHANG) == process_;
    return ended_;
  }

  Folder folder_;
  std::string out_ = folder_.write("out", ""), err_ = folder_.write("err", "");
  pid_t process_ = -1;
  int status_ = 0;
  bool ended_ = false;
};

/// The program's exit code is `code` and what it says ends with one line that holds `part`.
inline ::testing::AssertionResult fails(const std::vector<std::string>& arguments, int code,
                                        const std::string& part,
                                        rlim_t largest_file = RLIM_INFINITY,
                                        const std::string& standard_input = "") {
  Program program(arguments, largest_file, standard_input);
  const int ended = program.wait();
  const std::string err = program.err();
  if (ended != code)
    return ::testing::AssertionFailure()

           << "exit code " << ended << ", not " << code << ": "
           << err.substr(err.size() - std::min<std::size_t>(err.size(), 1000));
  const std::size_t line = err.rfind("lacuna: ");
  if (line == std::string::npos || (line > 0 && err[line - 1] != '\n') ||
      err.find('\n', line) != err.size() - 1)
    return ::testing::AssertionFailure() << "'" << err << "' does not end with one line of error";
  return contains(err.substr(line), part);
}

/// What the program writes to standard output, when its exit code is 0; otherwise a failure.
inline std::string output_of(const std::vector<std::string>& arguments) {
  Program program(arguments);
  EXPECT_EQ(program.wait(), 0) << program.err();
  return program.out();
}

}  // namespace lacuna::testing
