#include "comm/nccl/emulated/peers.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <deque>
#include <thread>

#include "core/check.h"

namespace lacuna::nccl {
namespace {

/// A name that is no file, and goes with the socket (unix(7), "abstract").
struct Address {
  sockaddr_un content{};
  socklen_t length;
  explicit Address(const std::string& name) {
    content.sun_family = AF_UNIX;
    CHECK(name.size() + 1 < sizeof content.sun_path, "a socket's name is too long: ", name);
    name.copy(content.sun_path + 1, name.size());
    length = socklen_t(offsetof(sockaddr_un, sun_path) + 1 + name.size());
  }
  const sockaddr* get() const { return reinterpret_cast<const sockaddr*>(&content); }
};

int new_socket() {
  const int s = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  CHECK(s >= 0, "cannot have a socket: ", std::strerror(errno));
  return s;
}

/// The peer may not be there yet.
int connected(const Address& address) {
  for (;;) {
    const int s = new_socket();
    if (connect(s, address.get(), address.length) == 0) return s;
    const int why = errno;
    close(s);
    CHECK(why == ECONNREFUSED || why == EAGAIN || why == EINTR,
          "cannot reach a peer: ", std::strerror(why));
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
  }
}

/// One direction of the talk with a peer: each message is its label, then its bytes.
struct Direction {
  std::deque<Message> messages;
  std::size_t done = 0;  // bytes of the first one, its label counted
  Label label;           // that came

  bool finished() const { return messages.empty(); }
  /// The next bytes to move.
  char* next(std::size_t& bytes) {
    Message& m = messages.front();
    if (done < sizeof(Label)) {
      bytes = sizeof(Label) - done;
      return reinterpret_cast<char*>(&label) + done;
    }
    bytes = m.bytes - (done - sizeof(Label));
    return reinterpret_cast<char*>(m.data) + (done - sizeof(Label));
  }
  void moved(std::size_t bytes) {
    done += bytes;
    if (done < sizeof(Label) + messages.front().bytes) return;
    messages.pop_front();
    done = 0;
    if (!messages.empty()) label = messages.front().label;
  }
};

std::vector<Direction> by_peer(const std::vector<Message>& messages, std::size_t peers) {
  std::vector<Direction> directions(peers);
  for (const Message& m : messages) directions[std::size_t(m.peer)].messages.push_back(m);
  for (Direction& d : directions)
    if (!d.finished()) d.label = d.messages.front().label;
  return directions;
}

}  // namespace

Peers::Peers(const std::string& name, int rank, int size) : sockets_(std::size_t(size), -1) {
  CHECK(pipe2(aborted_, O_CLOEXEC) == 0, "cannot have a pipe: ", std::strerror(errno));
  const auto address = [&](int r) { return Address(str(name, '.', r)); };
  const int listener = new_socket();
  const Address mine = address(rank);
  CHECK(bind(listener, mine.get(), mine.length) == 0 && listen(listener, size) == 0,
        "cannot listen: ", std::strerror(errno));
  for (int r = 0; r < rank; ++r) {
    sockets_[std::size_t(r)] = connected(address(r));
    CHECK(send(sockets_[std::size_t(r)], &rank, sizeof rank, MSG_NOSIGNAL) == sizeof rank, "peer ",
          r, " is gone");
  }
  for (int others = rank + 1; others < size; ++others) {
    const int s = accept4(listener, nullptr, nullptr, SOCK_CLOEXEC);
    int peer = -1;
    CHECK(s >= 0 && recv(s, &peer, sizeof peer, MSG_WAITALL) == sizeof peer && peer > rank &&
              peer < size && sockets_[std::size_t(peer)] < 0,
          "a peer's greeting is not right");
    sockets_[std::size_t(peer)] = s;
  }
  close(listener);
  for (const int s : sockets_)
    if (s >= 0) fcntl(s, F_SETFL, fcntl(s, F_GETFL) | O_NONBLOCK);
}

Peers::~Peers() {
  for (const int s : sockets_)
    if (s >= 0) close(s);
  for (const int end : aborted_) close(end);
}

void Peers::abort() { (void)!write(aborted_[1], "", 1); }

void Peers::wait_for_abort() {
  pollfd p{aborted_[0], POLLIN, 0};
  while (poll(&p, 1, -1) < 0 && errno == EINTR) continue;
}

Peers::Result Peers::exchange(const std::vector<Message>& sends,
                              const std::vector<Message>& receives) {
  auto out = by_peer(sends, sockets_.size()), in = by_peer(receives, sockets_.size());
  for (;;) {
    std::vector<pollfd> waits{{aborted_[0], POLLIN, 0}};
    std::vector<std::size_t> peers{0};
    for (std::size_t r = 0; r < sockets_.size(); ++r) {
      const short events =
          short((out[r].finished() ? 0 : POLLOUT) | (in[r].finished() ? 0 : POLLIN));
      if (!events) continue;
      waits.push_back({sockets_[r], events, 0});
      peers.push_back(r);
    }
    if (waits.size() == 1) return {End::done, 0, {}};
    if (poll(waits.data(), waits.size(), -1) < 0) continue;  // EINTR
    if (waits[0].revents) return {End::aborted, 0, {}};
    for (std::size_t i = 1; i < waits.size(); ++i) {
      const std::size_t r = peers[i];
      const short ready = waits[i].revents;
      const auto lost = [](ssize_t moved) {
        return moved == 0 || (moved < 0 && errno != EAGAIN && errno != EINTR);
      };
      std::size_t bytes = 0;
      if (!in[r].finished() && (ready & (POLLIN | POLLHUP | POLLERR))) {
        Direction& d = in[r];
        const Label expected = d.messages.front().label;
        const bool in_label = d.done < sizeof(Label);
        char* to = d.next(bytes);
        const ssize_t moved = recv(sockets_[r], to, bytes, 0);
        if (lost(moved)) return {End::peer_lost, int(r), {}};
        if (moved > 0) {
          const bool complete = in_label && std::size_t(moved) == bytes;
          if (complete && d.label != expected) return {End::labels_differ, int(r), d.label};
          d.moved(std::size_t(moved));
        }
      }
      if (!out[r].finished() && (ready & (POLLOUT | POLLHUP | POLLERR))) {
        const char* from = out[r].next(bytes);
        const ssize_t moved = send(sockets_[r], from, bytes, MSG_NOSIGNAL);
        if (lost(moved)) return {End::peer_lost, int(r), {}};
        if (moved > 0) out[r].moved(std::size_t(moved));
      }
    }
  }
}

}  // namespace lacuna::nccl
