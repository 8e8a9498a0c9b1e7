#include "checkpoint/checkpoint.h"

#include <algorithm>

#include "core/half.h"

namespace lacuna {
namespace {

constexpr const char* kFormat = "lacuna-checkpoint";
constexpr std::int64_t kVersion = 1;
constexpr std::int64_t kPiece = 1 << 20;  // elements converted at a time

std::string stored_group_path(const std::string& group) {
  if (group == "model") return "/model";
  if (group == "first_moment" || group == "second_moment" || group == "master" || group == "ema")
    return "/optimizer/" + group;
  fail("a checkpoint has no group '" + group + "'");
}

SharedFile::Attributes attributes_of(const CheckpointInfo& info, const std::string& path) {
  SharedFile::Attributes all = {
      {"format", kFormat},       {"version", kVersion},   {"step", info.step},
      {"samples", info.samples}, {"tokens", info.tokens}, {"bad_steps", info.bad_steps},
      {"seed", info.seed},       {"config", info.config}, {"tokenizer", info.tokenizer}};
  for (const auto& [name, text] : info.extra) {
    CHECK(name.starts_with("hf_"), path, ": '", name, "' must begin with hf_");
    all.emplace_back(name, text);
  }
  return all;
}

std::vector<SharedFile::Dataset> datasets_of(const std::vector<StoredTensor>& tensors,
                                             const std::string& path) {
  std::vector<SharedFile::Dataset> all;
  for (const StoredTensor& t : tensors) {
    CHECK(!t.name.empty() && t.name.find('/') == std::string::npos, path, ": '", t.name,
          "' cannot name a tensor");
    all.push_back({stored_group_path(t.group) + "/" + t.name, t.shape, t.dtype});
  }
  return all;
}

std::filesystem::path without_suffix(const std::filesystem::path& path) {
  const std::string& text = path.native();
  return names_average(path) ? text.substr(0, text.size() - kAverageSuffix.size()) : text;
}

}  // namespace

Tensor whole_tensor(const ModelReader& reader, const std::string& name,
                    std::vector<std::vector<std::byte>>& memory) {
  const Shape shape = reader.shape("model", name);
  const DType dtype = reader.dtype("model", name);
  const Matrix stored = reader.stored("model", name);
  if (stored.data && stored.is_float() &&
      stored.row_bytes == stored.cols() * std::int64_t(size_of(dtype)))
    return Tensor(const_cast<void*>(stored.data), shape, dtype);
  memory.emplace_back(std::size_t(shape.count() * size_of(dtype)));
  const Tensor tensor(memory.back().data(), shape, dtype);
  reader.read("model", name, tensor);
  return tensor;
}

CheckpointWriter::CheckpointWriter(const std::filesystem::path& path, const CheckpointInfo& info,
                                   const std::vector<StoredTensor>& tensors, ProcessGroup& team)
    : file_(path, attributes_of(info, path.string()), datasets_of(tensors, path.string()), team) {}

void save_checkpoint(const std::filesystem::path& path, const CheckpointInfo& info,
                     const CheckpointTensors& tensors) {
  std::vector<StoredTensor> stored;
  std::vector<Tensor> values;
  const auto add = [&](const char* group, const std::vector<NamedTensor>& named) {
    for (const NamedTensor& t : named) {
      stored.push_back({group, t.name, t.tensor.shape, t.tensor.dtype});
      values.push_back(t.tensor);
    }
  };
  add("model", tensors.model);
  add("first_moment", tensors.first_moment);
  add("second_moment", tensors.second_moment);
  add("master", tensors.master);
  SingleProcess alone;
  CheckpointWriter writer(path, info, stored, alone);
  for (std::size_t i = 0; i < values.size(); ++i) writer.write(i, 0, 0, values[i]);
  writer.commit();
}

bool names_average(const std::filesystem::path& path) {
  return path.native().ends_with(kAverageSuffix) && !std::filesystem::exists(path);
}

CheckpointReader::CheckpointReader(const std::filesystem::path& path)
    : path_(path.string()),
      average_(names_average(path)),
      file_(h5::File::open(without_suffix(path))) {
  const std::string& name = file_.name();
  CHECK(file_.has_attribute("format"), name, ": is an HDF5 file, but not a checkpoint");
  const std::string format = file_.string_attribute("format");
  CHECK(format == kFormat, name, ": is not a checkpoint: its format is '", format, "', not '",
        kFormat, "'");
  const std::int64_t version = file_.int_attribute("version");
  CHECK(version <= kVersion, name, ": version ", version, " is newer than this program's ",
        kVersion);
  CHECK(version >= 1, name, ": version ", version, " is none this program knows; it writes ",
        kVersion);
  info_.step = file_.int_attribute("step");
  info_.samples = file_.int_attribute("samples");
  info_.tokens = file_.int_attribute("tokens");
  info_.bad_steps = file_.int_attribute("bad_steps");
  info_.seed = file_.int_attribute("seed");
  info_.config = file_.string_attribute("config");
  info_.tokenizer = file_.string_attribute("tokenizer");
  CHECK(info_.step >= 0 && info_.samples >= 0, name, ": step ", info_.step, " and samples ",
        info_.samples, " cannot be negative");
  CHECK(info_.bad_steps >= 0 && info_.bad_steps <= info_.step && info_.tokens >= 0, name, ": ",
        info_.bad_steps, " bad ones of ", info_.step, " steps, and ", info_.tokens, " tokens");
  for (const std::string& attribute : file_.attribute_names())
    if (attribute.starts_with("hf_")) info_.extra[attribute] = file_.string_attribute(attribute);
  CHECK(!average_ || !names("ema").empty(), name,
        ": has no moving average of its weights; train with optimizer.ema_decay, or leave out ",
        kAverageSuffix);
}

/// The average is f32: the masters of other weights do not come before it.
std::string CheckpointReader::group_path(const std::string& group) const {
  if (average_ && group == "model") return stored_group_path("ema");
  if (average_ && group == "master") return "/none";
  return stored_group_path(group);
}

std::string CheckpointReader::dataset(const std::string& group, const std::string& tensor) const {
  std::string dataset = group_path(group) + "/" + tensor;
  CHECK(file_.is_dataset(dataset), path(), ": has no tensor ", dataset);
  return dataset;
}

std::vector<std::string> CheckpointReader::names(const std::string& group) const {
  const std::string folder = group_path(group);
  if (!file_.exists(folder)) return {};
  return file_.list(folder);
}

bool CheckpointReader::has(const std::string& group, const std::string& name) const {
  return file_.is_dataset(group_path(group) + "/" + name);
}

Shape CheckpointReader::shape(const std::string& group, const std::string& name) const {
  return file_.shape(dataset(group, name));
}

DType CheckpointReader::dtype(const std::string& group, const std::string& name) const {
  return file_.dtype(dataset(group, name));
}

void CheckpointReader::read(const std::string& group, const std::string& name,
                            const Tensor& out) const {
  const std::string path_in_file = dataset(group, name);
  const Shape stored_shape = file_.shape(path_in_file);
  CHECK(stored_shape == out.shape, path(), ": ", path_in_file, " has shape ", stored_shape,
        "; the model needs ", out.shape);
  if (file_.dtype(path_in_file) == out.dtype) return file_.read(path_in_file, out);
  // Verified first, then converted piece by piece: no second tensor is held.
  file_.verify(path_in_file);
  read_box(group, name, 0, 0, out);
}

void CheckpointReader::read_box(const std::string& group, const std::string& name, std::int64_t row,
                                std::int64_t col, const Tensor& out) const {
  const std::string path_in_file = dataset(group, name);
  const DType stored = file_.dtype(path_in_file);
  if (stored == out.dtype) return file_.read_box(path_in_file, row, col, out);
  CHECK(out.dtype == DType::f32 && (stored == DType::bf16 || stored == DType::f16), path(), ": ",
        path_in_file, " holds ", stored, ", which cannot be read as ", out.dtype);
  CHECK(out.place == Place::host && out.contiguous(), path(), ": ", path_in_file,
        ": can be read only into contiguous main memory");
  const std::int64_t rows = out.rows(), cols = out.cols(),
                     step = std::max<std::int64_t>(1, kPiece / std::max<std::int64_t>(1, cols));
  std::vector<std::uint16_t> bits(std::size_t(std::min(step, rows) * cols));
  for (std::int64_t first = 0; first < rows; first += step) {
    const std::int64_t n = std::min(step, rows - first);
    const Tensor piece(static_cast<void*>(bits.data()), {n, cols}, stored);
    file_.read_box(path_in_file, row + first, col, piece);
    to_floats(piece, out.as<float>() + first * cols);
  }
}

void CheckpointReader::verify(const std::string& group, const std::string& name) const {
  file_.verify(dataset(group, name));
}

}  // namespace lacuna
