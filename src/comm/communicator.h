#pragma once
#include <cstdint>
#include <exception>
#include <memory>
#include <string>
#include <vector>

#include "core/reduce.h"
#include "core/tensor.h"

namespace lacuna {

class Ops;

/// What a communicator has done so far on this rank.
struct CommunicationStats {
  std::int64_t collectives = 0;
  std::int64_t bytes_sent = 0;  // payload handed to other ranks, without headers
  double waited_seconds = 0;    // how long wait() and barrier() held the caller: exposed time
};

/// A group of ranks. Every rank of the group makes the same calls in the same order.
///
/// Collectives are queued. A call checks its arguments (an Error names what is wrong, nothing is
/// sent), sees what Ops calls before it have written, and returns; its tensors must stay where they
/// are, be left alone, and not be read until wait(). Those of one communicator run in the order of
/// the calls, those of two communicators in any order, so that one may be overlapped with
/// computation while another is waited for. What goes wrong later is thrown by wait().
///
/// Tensors are contiguous. Types are f32, f64, bf16, f16, i32, i64, u8. Sums of bf16 and f16 are
/// accumulated in f32 and rounded once; integer sums wrap; mean is for float types; max of anything
/// with NaN is NaN. Every rank gets the same bits, and the same bits in every run on the same
/// layout. Counts may exceed 2^31.
class Communicator {
 public:
  virtual ~Communicator() = default;
  virtual int rank() const = 0;
  virtual int size() const = 0;
  /// What messages call the group: "world", "data", "tensor".
  virtual const std::string& name() const = 0;
  /// Ranks with the same color form a new group, ordered by key, then by rank here. Waits for all.
  virtual std::unique_ptr<Communicator> split(int color, int key, const std::string& name) = 0;

  /// x = the reduction of every rank's x, in place.
  virtual void all_reduce(Tensor x, Reduce operation) = 0;
  /// out = every rank's `mine`, by rank: size() times mine.count() elements.
  /// `mine` may be its own part of `out`, else they must not overlap.
  virtual void all_gather(Tensor out, Tensor mine) = 0;
  /// mine = this rank's part of the reduction of every rank's `in`, which holds size() times
  /// mine.count() elements, part by part. `mine` may be its own part of `in`, else they must not
  /// overlap. Where it is not, `in` is left as it was.
  virtual void reduce_scatter(Tensor mine, Tensor in, Reduce operation) = 0;
  /// x = rank root's x.
  virtual void broadcast(Tensor x, int root) = 0;

  /// Later Ops calls, and for host tensors the caller, see the results of every collective queued
  /// so far, and may write their tensors.
  virtual void wait() = 0;
  /// Returns when every rank of the group has called it; joins too.
  virtual void barrier() = 0;

  virtual CommunicationStats stats() const = 0;

  /// Ends what is under way on devices, of this group and of all that come from the same world:
  /// after an exception, when the other ranks may never do their part. Nothing but destruction may
  /// follow.
  virtual void abort() noexcept {}
};

/// Aborts a world when an exception passes by. Made after all that holds device memory, and so
/// destroyed first: a device releases memory only when all its work is done, and collectives that
/// other ranks have left are never done.
class AbortOnException {
 public:
  explicit AbortOnException(Communicator& world)
      : world_(world), exceptions_at_birth_(std::uncaught_exceptions()) {}
  ~AbortOnException() {
    if (std::uncaught_exceptions() > exceptions_at_birth_) world_.abort();
  }
  AbortOnException(const AbortOnException&) = delete;
  AbortOnException& operator=(const AbortOnException&) = delete;

 private:
  Communicator& world_;
  const int exceptions_at_birth_;
};

/// One rank alone: every collective is the identity, done at once.
class SelfCommunicator final : public Communicator {
 public:
  /// `ops` moves device tensors; without, only host tensors are taken.
  explicit SelfCommunicator(std::string name = "world", Ops* ops = nullptr)
      : name_(std::move(name)), ops_(ops) {}

  int rank() const override { return 0; }
  int size() const override { return 1; }
  const std::string& name() const override { return name_; }
  std::unique_ptr<Communicator> split(int color, int key, const std::string& name) override;
  void all_reduce(Tensor x, Reduce operation) override;
  void all_gather(Tensor out, Tensor mine) override;
  void reduce_scatter(Tensor mine, Tensor in, Reduce operation) override;
  void broadcast(Tensor x, int root) override;
  void wait() override {}
  void barrier() override {}
  CommunicationStats stats() const override { return stats_; }

 private:
  void copy(Tensor to, Tensor from);

  std::string name_;
  Ops* ops_;
  CommunicationStats stats_;
};

/// `value` summed over the ranks of the group, in rank order; the greatest for Reduce::max. Waits.
double reduced(Communicator& group, double value, Reduce operation = Reduce::sum);
/// Whether `here` is true on any rank of the group. Waits.
bool any_rank(Communicator& group, bool here);

/// Rank root's text, on every rank. Waits.
std::string shared_text(Communicator& group, const std::string& text, int root = 0);

/// Every rank's text, by rank, on every rank. Waits.
std::vector<std::string> gathered_texts(Communicator& group, const std::string& text);

/// Throws UsageError on every rank of the group when `text` is not the same on all of them, naming
/// `what`, the ranks that differ from the first and the first line that does. Waits.
void check_same_on_all_ranks(Communicator& group, const std::string& text, const std::string& what);

}  // namespace lacuna
