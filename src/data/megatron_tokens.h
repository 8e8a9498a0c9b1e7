#pragma once
#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>

#include "data/token_storage.h"

namespace lacuna {

/// The .idx file of a Megatron dataset that `path` names: by its .idx, its .bin, or the prefix of
/// both. None where it names none.
std::optional<std::filesystem::path> megatron_index(const std::filesystem::path& path);

/// A dataset of Megatron-LM's IndexedDataset: NAME.bin holds ids, uint16 or int32, and NAME.idx
/// (little-endian) the bytes "MMIDIDX\0\0", u64 version 1, u8 dtype (4 int32, 8 uint16), u64
/// sequences S, u64 D, i32 lengths [S], i64 first bytes [S], i64 documents [D], the last of which
/// is S: document d is sequences documents[d] up to documents[d + 1]. What may follow, of
/// multimodal data, is passed over. It says nothing of a tokenizer or vocabulary, and has no
/// checksums.
///
/// Error, naming the file, when either is missing, they do not belong together, the sequences do
/// not lie end to end as Megatron writes them, or ids have another type. Of an index larger than
/// `unread` only what is read is checked.
std::unique_ptr<TokenStorage> open_megatron_tokens(const std::filesystem::path& index,
                                                   std::int64_t& unread);

}  // namespace lacuna
