// Package backstop reconciles the ValidatingAdmissionPolicy that rejects unpinned workloads while the webhook is down.
package backstop
