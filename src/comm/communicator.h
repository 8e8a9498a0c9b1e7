#pragma once
#include <memory>

#include "core/tensor.h"

namespace lacuna {

enum class Reduce : std::uint8_t { sum, mean, max };

/// A group of ranks. Every rank of the group makes the same calls in the same order.
class Communicator {
 public:
  virtual ~Communicator() = default;
  virtual int rank() const = 0;
  virtual int size() const = 0;
  /// Ranks with the same color form a new group, ordered by key.
  virtual std::unique_ptr<Communicator> split(int color, int key) = 0;
  virtual void all_reduce(Tensor x, Reduce operation) = 0;  // in place
  virtual void all_gather(Tensor out, Tensor mine) = 0;     // out: size() times mine, by rank
  virtual void reduce_scatter(Tensor mine, Tensor in, Reduce operation) = 0;
  virtual void broadcast(Tensor x, int root) = 0;
  /// Later Ops calls wait for the collectives queued so far.
  virtual void join() = 0;
  /// Returns when every rank of the group has called it.
  virtual void barrier() = 0;
};

/// One rank alone: every collective is the identity.
class SelfCommunicator final : public Communicator {
 public:
  int rank() const override { return 0; }
  int size() const override { return 1; }
  std::unique_ptr<Communicator> split(int color, int key) override;
  void all_reduce(Tensor x, Reduce operation) override;
  void all_gather(Tensor out, Tensor mine) override;
  void reduce_scatter(Tensor mine, Tensor in, Reduce operation) override;
  void broadcast(Tensor x, int root) override;
  void join() override {}
  void barrier() override {}
};

}  // namespace lacuna
