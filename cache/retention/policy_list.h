// One function a policy, defined in the file of its name; for policies.cc alone. The objects are
// immutable and live for ever.
#ifndef PREFIXD_CACHE_RETENTION_POLICY_LIST_H_
#define PREFIXD_CACHE_RETENTION_POLICY_LIST_H_

#include "cache/retention/policy.h"

namespace prefixd {

const RetentionPolicy* FullPolicy();
const RetentionPolicy* PrefixKvPolicy();
const RetentionPolicy* PrefixKvDebiasedPolicy();
const RetentionPolicy* PrefixKvWindowPolicy();
const RetentionPolicy* LocalPolicy();
const RetentionPolicy* H2oPolicy();
const RetentionPolicy* ElasticPolicy();
const RetentionPolicy* SnapKvPolicy();
const RetentionPolicy* PyramidKvPolicy();
const RetentionPolicy* StreamingLlmPolicy();
const RetentionPolicy* RandomPolicy();

}  // namespace prefixd

#endif  // PREFIXD_CACHE_RETENTION_POLICY_LIST_H_
