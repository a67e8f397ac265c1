// The reasons (google.rpc.ErrorInfo.reason) that this daemon gives. docs/errors.md explains each.
#ifndef PREFIXD_ENGINE_ERROR_REASONS_H_
#define PREFIXD_ENGINE_ERROR_REASONS_H_

namespace prefixd::reason {

inline constexpr char kParameterOutOfRange[] = "PARAMETER_OUT_OF_RANGE";
inline constexpr char kInputInvalid[] = "INPUT_INVALID";
inline constexpr char kContextLengthExceeded[] = "CONTEXT_LENGTH_EXCEEDED";
inline constexpr char kImageTooLarge[] = "IMAGE_TOO_LARGE";
inline constexpr char kImageFormatUnsupported[] = "IMAGE_FORMAT_UNSUPPORTED";
inline constexpr char kImageCorrupt[] = "IMAGE_CORRUPT";
inline constexpr char kImageCountMismatch[] = "IMAGE_COUNT_MISMATCH";
inline constexpr char kImageNotCached[] = "IMAGE_NOT_CACHED";
inline constexpr char kPrefixNotFound[] = "PREFIX_NOT_FOUND";
inline constexpr char kPrefixExists[] = "PREFIX_EXISTS";
inline constexpr char kClassSetNotFound[] = "CLASS_SET_NOT_FOUND";
inline constexpr char kClassSetExists[] = "CLASS_SET_EXISTS";
inline constexpr char kTenantQuota[] = "TENANT_QUOTA";
inline constexpr char kModelNotFound[] = "MODEL_NOT_FOUND";
inline constexpr char kModelNotReady[] = "MODEL_NOT_READY";
inline constexpr char kFeatureUnsupported[] = "FEATURE_UNSUPPORTED";
inline constexpr char kQueueFull[] = "QUEUE_FULL";
inline constexpr char kKvCacheFull[] = "KV_CACHE_FULL";
inline constexpr char kDeviceMemoryFull[] = "DEVICE_MEMORY_FULL";
inline constexpr char kDecodeMemoryBusy[] = "DECODE_MEMORY_BUSY";
inline constexpr char kDeadlineUnreachable[] = "DEADLINE_UNREACHABLE";
inline constexpr char kDeadlineExceeded[] = "DEADLINE_EXCEEDED";
inline constexpr char kCancelled[] = "CANCELLED";
inline constexpr char kRequestNotFound[] = "REQUEST_NOT_FOUND";
inline constexpr char kRequestExists[] = "REQUEST_EXISTS";
inline constexpr char kDraining[] = "DRAINING";
inline constexpr char kSlowReader[] = "SLOW_READER";
inline constexpr char kEngineFailed[] = "ENGINE_FAILED";

}  // namespace prefixd::reason

#endif  // PREFIXD_ENGINE_ERROR_REASONS_H_
