#include "comm/mpi_group.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <memory>
#include <numeric>

#include "comm/parts.h"
#include "comm/reduction.h"

namespace lacuna::mpi {
namespace {

enum Tag : int { meeting_tag = 1, reduce_tag = 2, gather_tag = 3 };

// Room for two blocks of every other rank is bounded by this, at the price of shorter messages.
constexpr std::int64_t kMostBlockMemory = std::int64_t{64} << 20;
constexpr std::int64_t kShortestBlock = 4096;

/// Block j of a part, in elements.
struct Block {
  std::int64_t begin, size;
};

}  // namespace

/// One collective under way.
class Group::Run {
 public:
  Run(Group& group, const Collective& c)
      : g_(group),
        c_(c),
        element_(size_of(c.dtype)),
        activity_(group.monitor_, group.options_.timeout_seconds,
                  [this] { return describe(c_) + " of group '" + g_.name_ + "'"; }),
        waiter_{activity_, group.cancelled_, group.world_ranks_} {}

  int rank() const { return g_.rank_; }
  int size() const { return g_.size_; }
  std::int64_t element() const { return element_; }
  bool small(std::int64_t count) const { return count * element_ <= g_.options_.small_bytes; }
  void wait(Batch& batch) { batch.wait(waiter_); }

  /// Calls visit(rank) for the others, beginning behind this one, so that not all begin with the
  /// same.
  template <class Visit>
  void for_others(Visit&& visit) const {
    for (int k = 1; k < size(); ++k) visit((rank() + k) % size());
  }

  /// Sends each other rank what this one is about to do and `bytes` from data(rank); checks that
  /// they do the same. received(rank) is theirs, until the next meeting.
  template <class Data>
  void meet(std::int64_t bytes, Data&& data) {
    Batch batch(g_.comm_);
    const std::int64_t slot = slot_bytes();
    g_.meeting_.resize(std::size_t(2 * slot * size()));
    for_others([&](int other) {
      batch.receive(received_slot(other), slot, other, meeting_tag);
      std::byte* mine = g_.meeting_.data() + other * slot;
      std::memcpy(mine, &c_, sizeof c_);
      std::copy_n(data(other), bytes, mine + sizeof c_);
      batch.send(mine, std::int64_t(sizeof c_) + bytes, other, meeting_tag);
      g_.bytes_sent_ += bytes;
    });
    wait(batch);
    for_others([&](int other) { check_same(other); });
  }
  void meet() {
    meet(0, [this](int) { return g_.meeting_.data(); });
  }

  /// A broadcast's meeting: from the root to the others only.
  void hear_root(std::byte* x, std::int64_t bytes) {
    Batch batch(g_.comm_);
    const std::int64_t slot = slot_bytes();
    g_.meeting_.resize(std::size_t(2 * slot * size()));
    if (rank() == c_.root) {
      std::memcpy(g_.meeting_.data(), &c_, sizeof c_);
      std::copy_n(x, bytes, g_.meeting_.data() + sizeof c_);
      for_others([&](int other) {
        batch.send(g_.meeting_.data(), std::int64_t(sizeof c_) + bytes, other, meeting_tag);
        g_.bytes_sent_ += bytes;
      });
      wait(batch);
      return;
    }
    batch.receive(received_slot(c_.root), slot, c_.root, meeting_tag);
    wait(batch);
    check_same(c_.root);
    std::copy_n(received(c_.root), bytes, x);
  }

  const std::byte* received(int other) const { return received_slot(other) + sizeof(Collective); }

  void send(Batch& batch, const std::byte* data, std::int64_t elements, int to, int tag) {
    batch.send(data, elements * element_, to, tag);
    g_.bytes_sent_ += elements * element_;
  }
  void receive(Batch& batch, std::byte* data, std::int64_t elements, int from, int tag) {
    batch.receive(data, elements * element_, from, tag);
  }

  /// Elements of a block, the same on every rank.
  std::int64_t block_elements() const {
    const std::int64_t most =
        std::max(kShortestBlock, kMostBlockMemory / (std::int64_t{2} * size()));
    return std::max<std::int64_t>(1, std::min(g_.options_.block_bytes, most) / element_);
  }
  /// Where block j (of two that take turns) from `other` is received.
  std::byte* landing(std::int64_t j, int other) {
    const std::int64_t bytes = block_elements() * element_;
    g_.blocks_.resize(std::size_t(2 * bytes * size()));
    return g_.blocks_.data() + ((j % 2) * size() + other) * bytes;
  }
  /// out = own and theirs(rank) of the others, in rank order.
  template <class Theirs>
  void add_up(std::byte* out, const std::byte* own, std::int64_t elements, Theirs&& theirs) const {
    std::vector<const void*> parts;
    parts.reserve(std::size_t(g_.size_));
    for (int r = 0; r < size(); ++r) parts.push_back(r == rank() ? own : theirs(r));
    reduce_in_order(out, parts, elements, c_.dtype, c_.operation);
  }
  void add_up_landed(std::byte* out, const std::byte* own, std::int64_t elements, std::int64_t j) {
    add_up(out, own, elements, [&](int other) { return landing(j, other); });
  }
  void add_up_received(std::byte* out, const std::byte* own, std::int64_t elements) const {
    add_up(out, own, elements, [&](int other) { return received(other); });
  }

 private:
  std::int64_t slot_bytes() const {  // a multiple of 64, so that data is aligned
    return (std::int64_t(sizeof c_) + g_.options_.small_bytes + 63) / 64 * 64;
  }
  std::byte* received_slot(int other) const {
    return g_.meeting_.data() + (size() + other) * slot_bytes();
  }
  void check_same(int other) const {
    Collective theirs;
    std::memcpy(&theirs, received_slot(other), sizeof theirs);
    CHECK(theirs == c_, "ranks of group '", g_.name_, "' call different collectives: rank ",
          g_.world_ranks_[std::size_t(std::min(rank(), other))], ' ',
          describe(rank() < other ? c_ : theirs), ", rank ",
          g_.world_ranks_[std::size_t(std::max(rank(), other))], ' ',
          describe(rank() < other ? theirs : c_));
  }

  Group& g_;
  const Collective c_;
  const std::int64_t element_;
  Activity activity_;
  Waiter waiter_;
};

Group::Group(MPI_Comm comm, std::string name, JobMonitor* monitor,
             const CommunicationOptions& options)
    : comm_(comm), name_(std::move(name)), monitor_(monitor), options_(options) {
  MPI_Comm_rank(comm_, &rank_);
  MPI_Comm_size(comm_, &size_);
  world_ranks_.resize(std::size_t(size_));
  std::vector<int> own(world_ranks_.size());
  std::iota(own.begin(), own.end(), 0);
  MPI_Group here = MPI_GROUP_NULL, world = MPI_GROUP_NULL;
  MPI_Comm_group(comm_, &here);
  MPI_Comm_group(MPI_COMM_WORLD, &world);
  MPI_Group_translate_ranks(here, size_, own.data(), world, world_ranks_.data());
  MPI_Group_free(&here);
  MPI_Group_free(&world);
}

Group::~Group() {
  if (!cancelled_) MPI_Comm_free(&comm_);  // waits for the others where MPI wants to
}

void Group::all_reduce(const Collective& c, std::byte* x) {
  Run run(*this, c);
  if (run.small(c.count)) {
    run.meet(c.count * run.element(), [&](int) { return x; });
    run.add_up_received(x, x, c.count);
    return;
  }
  run.meet();
  const Parts parts(c.count, size_);
  const std::int64_t step = run.block_elements();
  const auto block = [&](int of, std::int64_t j) {
    const std::int64_t begin = std::min(parts.size(of), j * step);
    return Block{begin, std::min(parts.size(of), begin + step) - begin};
  };
  const auto at = [&](int of, const Block& b) {
    return x + (parts.begin(of) + b.begin) * run.element();
  };
  const std::int64_t blocks = (parts.length + step - 1) / step;
  std::array<Batch, 2> reducing{Batch(comm_), Batch(comm_)}, gathering{Batch(comm_), Batch(comm_)};
  for (std::int64_t j = 0; j <= blocks; ++j) {
    if (j < blocks) {
      const std::int64_t mine = block(rank_, j).size;
      run.for_others([&](int other) {
        run.receive(reducing[j % 2], run.landing(j, other), mine, other, reduce_tag);
        const Block theirs = block(other, j);
        run.send(reducing[j % 2], at(other, theirs), theirs.size, other, reduce_tag);
      });
    }
    if (j == 0) continue;
    const std::int64_t i = j - 1;
    // Also the sends: the finished block of another rank comes to where its contribution lies.
    run.wait(reducing[i % 2]);
    const Block mine = block(rank_, i);
    run.add_up_landed(at(rank_, mine), at(rank_, mine), mine.size, i);
    run.wait(gathering[i % 2]);
    run.for_others([&](int other) {
      const Block theirs = block(other, i);
      run.receive(gathering[i % 2], at(other, theirs), theirs.size, other, gather_tag);
      run.send(gathering[i % 2], at(rank_, mine), mine.size, other, gather_tag);
    });
  }
  for (Batch& batch : gathering) run.wait(batch);
}

void Group::reduce_scatter(const Collective& c, std::byte* mine, const std::byte* in) {
  Run run(*this, c);
  const std::int64_t part_bytes = c.count * run.element();
  const std::byte* own = in + rank_ * part_bytes;
  if (run.small(c.count)) {
    run.meet(part_bytes, [&](int other) { return in + other * part_bytes; });
    run.add_up_received(mine, own, c.count);
    return;
  }
  run.meet();
  const std::int64_t step = run.block_elements(), blocks = (c.count + step - 1) / step;
  std::array<Batch, 2> batches{Batch(comm_), Batch(comm_)};
  for (std::int64_t j = 0; j <= blocks; ++j) {
    if (j < blocks) {
      const std::int64_t elements = std::min(step, c.count - j * step);
      run.for_others([&](int other) {
        run.receive(batches[j % 2], run.landing(j, other), elements, other, reduce_tag);
        run.send(batches[j % 2], in + other * part_bytes + j * step * run.element(), elements,
                 other, reduce_tag);
      });
    }
    if (j == 0) continue;
    const std::int64_t i = j - 1, offset = i * step * run.element();
    run.wait(batches[i % 2]);
    run.add_up_landed(mine + offset, own + offset, std::min(step, c.count - i * step), i);
  }
}

void Group::all_gather(const Collective& c, std::byte* out, const std::byte* mine) {
  Run run(*this, c);
  const std::int64_t part_bytes = c.count * run.element();
  if (std::byte* own = out + rank_ * part_bytes; own != mine) std::copy_n(mine, part_bytes, own);
  if (run.small(c.count)) {
    run.meet(part_bytes, [&](int) { return mine; });
    run.for_others(
        [&](int other) { std::copy_n(run.received(other), part_bytes, out + other * part_bytes); });
    return;
  }
  run.meet();
  const std::int64_t step = run.block_elements(), blocks = (c.count + step - 1) / step;
  std::array<Batch, 2> batches{Batch(comm_), Batch(comm_)};
  for (std::int64_t j = 0; j < blocks; ++j) {
    run.wait(batches[j % 2]);
    const std::int64_t offset = j * step * run.element(),
                       elements = std::min(step, c.count - j * step);
    run.for_others([&](int other) {
      run.receive(batches[j % 2], out + other * part_bytes + offset, elements, other, gather_tag);
      run.send(batches[j % 2], mine + offset, elements, other, gather_tag);
    });
  }
  for (Batch& batch : batches) run.wait(batch);
}

/// Large data: the root deals out one part to each rank, each passes its own on to the others, so
/// that the root sends everything about twice and not once to each.
void Group::broadcast(const Collective& c, std::byte* x) {
  Run run(*this, c);
  if (run.small(c.count)) return run.hear_root(x, c.count * run.element());
  run.meet();
  const Parts parts(c.count, size_);
  const std::int64_t step = run.block_elements();
  const auto block = [&](int of, std::int64_t j) {
    const std::int64_t begin = std::min(parts.size(of), j * step);
    return Block{parts.begin(of) + begin, std::min(parts.size(of), begin + step) - begin};
  };
  const auto at = [&](const Block& b) { return x + b.begin * run.element(); };
  const std::int64_t blocks = (parts.length + step - 1) / step;
  std::array<Batch, 2> dealing{Batch(comm_), Batch(comm_)}, passing_on{Batch(comm_), Batch(comm_)};
  for (std::int64_t j = 0; j <= blocks; ++j) {
    if (j < blocks && rank_ == c.root)
      run.for_others([&](int other) {
        const Block b = block(other, j);
        run.send(dealing[j % 2], at(b), b.size, other, reduce_tag);
      });
    else if (j < blocks)
      run.receive(dealing[j % 2], at(block(rank_, j)), block(rank_, j).size, c.root, reduce_tag);
    if (j == 0) continue;
    const std::int64_t i = j - 1;
    run.wait(dealing[i % 2]);
    run.wait(passing_on[i % 2]);
    run.for_others([&](int other) {
      const Block mine = block(rank_, i), theirs = block(other, i);
      if (rank_ != c.root)
        run.receive(passing_on[i % 2], at(theirs), theirs.size, other, gather_tag);
      if (other != c.root) run.send(passing_on[i % 2], at(mine), mine.size, other, gather_tag);
    });
  }
  for (Batch& batch : passing_on) run.wait(batch);
}

void Group::barrier(const Collective& c) { Run(*this, c).meet(); }

MPI_Comm Group::split(int color, int key) {
  Activity activity(monitor_, options_.timeout_seconds,
                    [this] { return "the split of group '" + name_ + "'"; });
  MPI_Comm part = MPI_COMM_NULL;
  check(MPI_Comm_split(comm_, color, key, &part), "splitting group '" + name_ + "'");
  int members = 0;
  MPI_Comm_size(part, &members);
  if (members == 1) {
    MPI_Comm_free(&part);
    return MPI_COMM_NULL;
  }
  check(MPI_Comm_set_errhandler(part, MPI_ERRORS_RETURN), "MPI_Comm_set_errhandler");
  return part;
}

}  // namespace lacuna::mpi
