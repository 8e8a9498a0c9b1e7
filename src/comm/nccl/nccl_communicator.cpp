#include "comm/nccl/nccl_communicator.h"

#include <cstdint>
#include <deque>
#include <exception>
#include <optional>
#include <thread>
#include <utility>
#include <vector>

#include "comm/collective.h"
#include "comm/job_monitor.h"
#include "comm/nccl/nccl_library.h"
#include "comm/nccl/nccl_link.h"
#include "comm/nccl/nccl_watch.h"
#include "core/log.h"
#include "kernels/cuda/cuda_ops.h"
#include "kernels/platform/stream.h"

namespace lacuna {
namespace {

std::byte* bytes_of(Tensor t) { return static_cast<std::byte*>(t.data); }
bool on_host(Tensor t) { return t.place == Place::host; }

/// How long a stream stalled for another.
class Stalls {
 public:
  void add(Event begin, Event end) {
    (void)seconds();  // those that are over hold events
    under_way_.emplace_back(std::move(begin), std::move(end));
  }
  /// Of those that are over.
  double seconds() {
    while (!under_way_.empty() && under_way_.front().second.reached()) {
      seconds_ += under_way_.front().second.seconds_since(under_way_.front().first);
      under_way_.pop_front();
    }
    return seconds_;
  }

 private:
  std::deque<std::pair<Event, Event>> under_way_;
  double seconds_ = 0;
};

CudaOps& of_a_gpu(Ops& ops) {
  auto* cuda = dynamic_cast<CudaOps*>(&ops);
  CHECK(cuda, "NCCL needs a GPU, not ", ops.description());
  return *cuda;
}

/// The ranks of `group` but this one, as ranks of the world.
std::vector<int> others_of(Communicator& group, int world_rank) {
  std::vector<std::int32_t> all(std::size_t(group.size()));
  std::int32_t mine = world_rank;
  group.all_gather(Tensor(all.data(), {group.size()}), Tensor(&mine, {1}));
  group.wait();
  all.erase(all.begin() + group.rank());
  return {all.begin(), all.end()};
}

/// One that NCCL made on rank 0 of the group.
ncclUniqueId shared_id(Communicator& group) {
  ncclUniqueId id{};
  if (group.rank() == 0) {
    const NcclLibrary& library = NcclLibrary::get();
    const ncclResult_t result = library.unique_id(&id);
    CHECK(result == ncclSuccess, "NCCL cannot begin: ", library.error_string(result), ", ",
          library.last_error(nullptr), "; NCCL_DEBUG=WARN says more");
  }
  group.broadcast(Tensor(id.internal, {std::int64_t{sizeof id.internal}}, DType::u8), 0);
  group.wait();
  return id;
}

}  // namespace

/// What the groups that come from one world have together on this rank's GPU.
struct NcclCommunicator::Family {
  std::optional<Stream> stream;  // from the first collective
  std::vector<Device*> devices;  // of the groups that have one
  bool aborted = false;
};

/// What a communicator has on its GPU, from its first collective there. Destroyed from below: the
/// watch first.
struct NcclCommunicator::Device {
  Device(Communicator& host, Ops& ops, const NcclOptions& options, Family& family_)
      : index(current_device()),
        memory(ops.memory()),
        buffer_bytes(options.buffer_bytes),
        family(family_),
        link(shared_id(host), host.rank(), host.size(), stream_of(family)) {
    const nccl::Watch::Options watched{index,
                                       options.monitor,
                                       options.timeout_seconds,
                                       host.name(),
                                       others_of(host, options.world_rank),
                                       [this] { return link.asynchronous_error(); }};
    watch.emplace(watched);
    family.devices.push_back(this);
  }
  ~Device() {
    std::erase(family.devices, this);
    watch.reset();
    if (buffer) memory.release(buffer, buffer_bytes);
  }
  static Stream& stream_of(Family& family) {
    if (!family.stream) family.stream.emplace(Stream::Purpose::communication);
    return *family.stream;
  }
  Stream& stream() { return *family.stream; }

  /// Memory for what arrives in an exchange.
  void need_buffer() {
    if (buffer) return;
    buffer = memory.allocate(buffer_bytes);
    link.give_buffer(static_cast<std::byte*>(buffer), buffer_bytes);
  }

  const int index;  // the GPU
  Memory& memory;
  const std::int64_t buffer_bytes;
  Family& family;
  nccl::Link link;
  void* buffer = nullptr;
  std::optional<Event> last;     // the end of what was queued last
  bool pending = false;          // something is queued that no wait() has seen
  std::int64_t collectives = 0;  // so far
  double bytes_sent = 0;
  Stalls stand_stills;
  std::optional<nccl::Watch> watch;
};

NcclCommunicator::NcclCommunicator(std::unique_ptr<Communicator> host, Ops& ops,
                                   const NcclOptions& options)
    : NcclCommunicator(std::move(host), of_a_gpu(ops), options, std::make_shared<Family>()) {}

NcclCommunicator::NcclCommunicator(std::unique_ptr<Communicator> host, CudaOps& ops,
                                   const NcclOptions& options, std::shared_ptr<Family> family)
    : host_(std::move(host)),
      ops_(ops),
      options_(options),
      family_(std::move(family)),
      exceptions_at_birth_(std::uncaught_exceptions()) {}

NcclCommunicator::~NcclCommunicator() {
  if (!device_) return;
  // When an exception passes by, the other ranks may never do their part of what is queued.
  if (std::uncaught_exceptions() > exceptions_at_birth_ || device_->watch->failed()) abort();
  if (!family_->aborted && device_->last) {
    const Activity activity(options_.monitor, options_.timeout_seconds,
                            [this] { return "the end of group '" + name() + "'"; });
    try {
      device_->last->wait();
    } catch (const Error& e) {
      log_warning(e.what());
    }
  }
  device_.reset();
}

/// Each in a thread: NCCL may return from one only when the device is done with the others.
void NcclCommunicator::abort() noexcept {
  if (std::exchange(family_->aborted, true)) return;
  std::vector<std::thread> aborts;
  for (Device* d : family_->devices)
    aborts.emplace_back([d] {
      d->watch->end();
      try {
        use_device(d->index);
      } catch (const Error&) {  // then NCCL itself finds the device
      }
      d->link.abort();
    });
  for (std::thread& thread : aborts) thread.join();
}

std::string NcclCommunicator::why_not() {
  try {
    (void)NcclLibrary::get();
    return {};
  } catch (const Error& e) {
    return e.what();
  }
}

std::unique_ptr<Communicator> NcclCommunicator::split(int color, int key, const std::string& name) {
  auto part = host_->split(color, key, name);
  if (part->size() == 1) return part;
  return std::unique_ptr<Communicator>(
      new NcclCommunicator(std::move(part), ops_, options_, family_));
}

/// Queues `work`, which does collective `c` and sends `bytes`, behind the Ops calls so far.
void NcclCommunicator::queue(Collective c, double bytes, const std::function<void(Device&)>& work) {
  if (c.count == 0) return;
  CHECK(!family_->aborted, describe(c), " of group '", name(), "' after an abort");
  if (!device_) {
    const Activity activity(options_.monitor, options_.timeout_seconds, [this] {
      return "connecting the GPUs of group '" + this->name() + "' by NCCL";
    });
    device_ = std::make_unique<Device>(*host_, ops_, options_, *family_);
  }
  Device& d = *device_;
  d.watch->check();
  c.number = ++d.collectives;
  try {
    if (nccl::Link::is_exchanged(c)) d.need_buffer();
    Event(ops_.stream(), Event::Kind::order).before(d.stream());
    Event begun(d.stream(), Event::Kind::order);
    work(d);
    d.pending = true;
    d.last.emplace(d.stream(), Event::Kind::order);
    d.watch->add(c, std::move(begun), Event(d.stream(), Event::Kind::order));
  } catch (const Error& e) {
    fail(str(describe(c), " of group '", name(), "': ", e.what()));
  }
  d.bytes_sent += bytes;
}

void NcclCommunicator::all_reduce(Tensor x, Reduce operation) {
  if (on_host(x)) return host_->all_reduce(x, operation);
  const double share = double(size() - 1) / size();
  const Collective c = check_all_reduce(x, operation);
  queue(c, 2 * share * double(x.bytes()), [&](Device& d) { d.link.all_reduce(c, bytes_of(x)); });
}

void NcclCommunicator::all_gather(Tensor out, Tensor mine) {
  if (on_host(out)) return host_->all_gather(out, mine);
  const Collective c = check_all_gather(out, mine, rank(), size());
  queue(c, double(size() - 1) * double(mine.bytes()),
        [&](Device& d) { d.link.all_gather(c, bytes_of(out), bytes_of(mine)); });
}

void NcclCommunicator::reduce_scatter(Tensor mine, Tensor in, Reduce operation) {
  if (on_host(in)) return host_->reduce_scatter(mine, in, operation);
  const Collective c = check_reduce_scatter(mine, in, operation, rank(), size());
  queue(c, double(size() - 1) * double(mine.bytes()),
        [&](Device& d) { d.link.reduce_scatter(c, bytes_of(mine), bytes_of(in)); });
}

void NcclCommunicator::broadcast(Tensor x, int root) {
  if (on_host(x)) return host_->broadcast(x, root);
  const Collective c = check_broadcast(x, root, size());
  queue(c, double(x.bytes()), [&](Device& d) { d.link.broadcast(c, bytes_of(x)); });
}

void NcclCommunicator::wait() {
  host_->wait();
  if (!device_) return;
  device_->watch->check();
  if (!std::exchange(device_->pending, false)) return;
  CUstream_st* const ops_stream = ops_.stream();
  Event begin(ops_stream, Event::Kind::time);
  device_->last->before(ops_stream);
  device_->stand_stills.add(std::move(begin), Event(ops_stream, Event::Kind::time));
}

void NcclCommunicator::barrier() {
  wait();
  host_->barrier();
}

CommunicationStats NcclCommunicator::stats() const {
  CommunicationStats stats = host_->stats();
  if (!device_) return stats;
  stats.collectives += device_->collectives;
  stats.bytes_sent += std::int64_t(device_->bytes_sent);
  stats.waited_seconds += device_->stand_stills.seconds();
  return stats;
}

}  // namespace lacuna
