#pragma once
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "checkpoint/model_reader.h"
#include "core/tensor.h"
#include "formats/hdf5.h"
#include "formats/named_tensor.h"
#include "formats/process_group.h"
#include "formats/shared_file.h"

namespace lacuna {

// A checkpoint is one HDF5 file of whole logical tensors, independent of the layout that wrote it:
//   /model/<name>                     weights, under Hugging Face LLaDA names, [out, in]
//   /optimizer/first_moment/<name>    AdamW's moments
//   /optimizer/second_moment/<name>   Muon's matrices have the first alone
//   /optimizer/master/<name>          f32 weights, where those in /model are rounded
//   /optimizer/ema/<name>             their moving average, where optimizer.ema_decay asks for one
// and, as attributes of "/": format "lacuna-checkpoint", version, step, samples, tokens, bad_steps,
// seed, config (TOML), tokenizer (tokenizer.json), and any hf_* that an import kept. Checksums as
// in hdf5.h. A run that trains adapters (lora.rank) has those in place of the weights, under the
// names of adapter_weights(); train.init in its config names the model that they adapt.

/// Views of host tensors. Groups may be empty: an imported model has no optimizer states.
struct CheckpointTensors {
  std::vector<NamedTensor> model, first_moment, second_moment, master;
};

/// Of group "model", where it lies in the reader's file or else read into `memory`.
Tensor whole_tensor(const ModelReader& reader, const std::string& name,
                    std::vector<std::vector<std::byte>>& memory);

/// A whole tensor of a checkpoint. `group` is "model", "first_moment", "second_moment", "master" or
/// "ema".
struct StoredTensor {
  std::string group, name;
  Shape shape;
  DType dtype;
};

/// Writes a checkpoint under a temporary name, flushes it to disk and renames it. On any Error (a
/// full disk, a folder that cannot be written) nothing appears, and a file already there stays.
/// Several processes may write it together, each parts of the tensors (formats/shared_file.h).
class CheckpointWriter {
 public:
  /// The tensors are the same on all members of the team, which make the same calls but for
  /// write().
  CheckpointWriter(const std::filesystem::path& path, const CheckpointInfo& info,
                   const std::vector<StoredTensor>& tensors, ProcessGroup& team);
  /// Elements of tensor number `tensor`, as SharedFile::write.
  void write(std::size_t tensor, std::int64_t row, std::int64_t col, const Tensor& box) {
    file_.write(tensor, row, col, box);
  }
  void flush() { file_.flush(); }
  void commit() { file_.commit(); }

 private:
  SharedFile file_;
};

/// The same of tensors that one process has.
void save_checkpoint(const std::filesystem::path& path, const CheckpointInfo& info,
                     const CheckpointTensors& tensors);

/// After a checkpoint's path, or that of a run's folder: the moving average of its weights
/// (optimizer.ema_decay) in place of them.
inline constexpr std::string_view kAverageSuffix = "@ema";
/// Whether a path ends so, and is no file or folder of that name.
bool names_average(const std::filesystem::path& path);

class CheckpointReader final : public ModelReader {
 public:
  /// Error when the file is missing, damaged, not a checkpoint, or newer than this program. With
  /// kAverageSuffix after the path, group "model" is the average: Error when there is none.
  explicit CheckpointReader(const std::filesystem::path& path);

  /// As it was given: with kAverageSuffix it opens the same again.
  const std::string& path() const override { return path_; }
  const CheckpointInfo& info() const override { return info_; }
  std::vector<std::string> names(const std::string& group) const override;
  bool has(const std::string& group, const std::string& name) const override;
  Shape shape(const std::string& group, const std::string& name) const override;
  DType dtype(const std::string& group, const std::string& name) const override;
  void read(const std::string& group, const std::string& name, const Tensor& out) const override;
  void read_box(const std::string& group, const std::string& name, std::int64_t row,
                std::int64_t col, const Tensor& out) const override;
  using ModelReader::verify;
  void verify(const std::string& group, const std::string& name) const override;

 private:
  std::string dataset(const std::string& group, const std::string& name) const;
  std::string group_path(const std::string& group) const;
  const std::string path_;
  const bool average_;
  h5::File file_;
  CheckpointInfo info_;
};

/// run_dir/checkpoints/step-00001000.h5
std::filesystem::path checkpoint_path(const std::filesystem::path& run_dir, std::int64_t step);
/// The step of a file's name: 1000 of "step-00001000" and `suffix`, or -1 for any other name.
std::int64_t step_of_name(const std::string& file, std::string_view suffix = ".h5");
/// The checkpoints of a run by falling step: regular files step-DIGITS.h5, whatever they hold. None
/// when there is no such folder; Error when it cannot be read.
std::vector<std::filesystem::path> saved_checkpoints(const std::filesystem::path& run_dir);
/// Verifies all of it, each member of the team a part; of adapters, not what they adapt. What one
/// finds is thrown on all:
/// DamagedFile, or another Error when one could not read it.
void verify_checkpoint(const std::filesystem::path& path, ProcessGroup& team);

/// What find_checkpoint found. The same on all members of a team.
struct FoundCheckpoint {
  std::optional<std::filesystem::path> newest;  // of the highest step that verifies in full
  std::vector<std::filesystem::path> skipped;   // of higher steps
};
/// Looks for the newest checkpoint that verifies in full. Damaged ones are skipped, with a warning.
/// Any other reason not to read one (rights, the disk, memory, a newer format version) is an Error,
/// since it may be good. The members share the work.
FoundCheckpoint find_checkpoint(const std::filesystem::path& run_dir, ProcessGroup& team);
/// The newest of them, by this process alone.
std::optional<std::filesystem::path> newest_valid_checkpoint(const std::filesystem::path& run_dir);
/// Removes all but the `keep` newest checkpoints (0: removes none) and what an interrupted save
/// left. Only while no save is under way.
void prune_checkpoints(const std::filesystem::path& run_dir, std::int64_t keep);
/// What an option names: a checkpoint file; a run's folder, which stands for its newest valid
/// checkpoint; or a Hugging Face folder, as it is. Error when there is none, and for files of other
/// formats.
/// kAverageSuffix may follow: Error where the checkpoint has no average.
std::filesystem::path resolve_checkpoint(const std::string& what);

}  // namespace lacuna
