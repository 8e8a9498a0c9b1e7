#pragma once
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace lacuna::nccl {

/// What a message is part of: both ends must mean the same.
struct Label {
  std::uint32_t function = 0, type = 0, operation = 0, root = 0;
  std::uint64_t count = 0;
  bool operator==(const Label&) const = default;
};

/// A message to or from a peer, in this order between the two.
struct Message {
  int peer = 0;
  Label label;
  std::byte* data = nullptr;  // read when sent
  std::size_t bytes = 0;
};

/// The processes of an emulated communicator, connected by sockets of this machine.
class Peers {
 public:
  /// Waits for all of `size`, who have the same name for it.
  Peers(const std::string& name, int rank, int size);
  ~Peers();
  Peers(const Peers&) = delete;
  Peers& operator=(const Peers&) = delete;

  enum class End : std::uint8_t { done, aborted, peer_lost, labels_differ };
  struct Result {
    End end;
    int peer = 0;  // that was lost, or whose label differs
    Label theirs;
  };
  /// Sends and receives all at the same time.
  Result exchange(const std::vector<Message>& sends, const std::vector<Message>& receives);

  /// From another thread: ends an exchange, and every later one.
  void abort();
  void wait_for_abort();

 private:
  std::vector<int> sockets_;  // by rank; -1: this one
  int aborted_[2];            // a pipe, readable from then on
};

}  // namespace lacuna::nccl
