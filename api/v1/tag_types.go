package v1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// DefaultHistoryLimit is the number of generations that a Tag keeps when spec.historyLimit is not set.
const DefaultHistoryLimit = 5

// MaxGeneration is the highest number of a generation: JSON numbers are exact up to 2^53-1 (RFC 8259, section 6).
const MaxGeneration = 1<<53 - 1

// MaxFirstGeneration is the highest number that the first import of a Tag may have. It leaves room for every import of the
// Tag's life.
const MaxFirstGeneration = 1_000_000_000_000

// TagSpec has the image that a Tag follows, and the generation of it that workloads use.
type TagSpec struct {
	// from is the image that the Tag follows, such as quay.io/company/myapp:latest.
	// Without a tag it means latest. Without a registry it means docker.io, unless the administrator's
	// registries.conf names one other registry for unqualified names; push notifications do not reach such a Tag.
	// With a digest the Tag is pinned for good.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=512
	// +kubebuilder:validation:XValidation:rule="self.matches('^([a-zA-Z0-9]([a-zA-Z0-9._-]*[a-zA-Z0-9])?|[[][0-9a-fA-F:.]+[]])(:[0-9]+)?(/[a-z0-9]+([._-]+[a-z0-9]+)*)*(:[A-Za-z0-9_][A-Za-z0-9_.-]{0,127})?(@[a-z0-9]+:[0-9a-f]{32,})?$')",message="from must be an image reference such as quay.io/company/myapp:latest, with the repository in lower case"
	From string `json:"from,omitempty"`

	// generation is the generation that workloads use. A generation of status.references is selected at once; the newest
	// one plus 1 imports the image again. If empty, it is 0 on create, and keeps its value on update.
	// Before the first import it is at most 1000000000000.
	// +optional
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=9007199254740991
	Generation *int64 `json:"generation,omitempty"`

	// cache copies the image into the internal registry first; workloads then pull it from there.
	// +optional
	Cache bool `json:"cache,omitempty"` //nolint:kubeapilinter // nobools: the name and the type are the product's own since its first version

	// interval is how often Tagger checks the registry for a new digest, at least every 1m. Without it Tagger never polls: only
	// a user changes the generation.
	// +optional
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:MaxLength=32
	// +kubebuilder:validation:Pattern=`^([0-9]+(\.[0-9]+)?(ms|s|m|h))+$`
	// +kubebuilder:validation:XValidation:rule="duration(self) >= duration('1m')",message="interval must be at least 1m"
	Interval *metav1.Duration `json:"interval,omitempty"` //nolint:kubeapilinter // nodurations: the API server parses it by the rule above, and kubectl users write 5m

	// historyLimit is the number of kept generations, 1 to 25. The one in use is always kept.
	// +optional
	// +default=5
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=25
	HistoryLimit int32 `json:"historyLimit,omitempty"`
}

// Trigger is the cause of a generation.
// +kubebuilder:validation:Enum=Import;Push;Poll;User
type Trigger string

const (
	// TriggerImport is the first import of a Tag.
	TriggerImport Trigger = "Import"
	// TriggerPush is a push notification of a registry.
	TriggerPush Trigger = "Push"
	// TriggerPoll is a check after spec.interval.
	TriggerPoll Trigger = "Poll"
	// TriggerUser is a user who changed spec.generation, spec.from or spec.cache.
	TriggerUser Trigger = "User"
)

// Reference is one imported generation of a Tag.
type Reference struct {
	// generation is the number of this import.
	// +required
	// +kubebuilder:validation:Minimum=0
	Generation int64 `json:"generation"` //nolint:kubeapilinter // requiredfields: 0 is the first generation and has to be written out

	// from is the value of spec.from at the time of the import.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=512
	From string `json:"from,omitempty"`

	// importedAt is the time of the import.
	// +required
	ImportedAt metav1.Time `json:"importedAt,omitempty"` //nolint:kubeapilinter // requiredfields: a time is text in JSON, and never zero here

	// imageReference is the image by its digest, in the form that workloads get: at its source, or in the internal registry if
	// cached.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=768
	ImageReference string `json:"imageReference,omitempty"` //nolint:kubeapilinter // noreferences: the seed's own name

	// trigger is the cause of this generation: Import, Push, Poll or User.
	// +optional
	Trigger Trigger `json:"trigger,omitempty"`
}

// ImportAttempt is the outcome of the last import.
type ImportAttempt struct {
	// when is the time of the attempt.
	// +required
	When metav1.Time `json:"when,omitempty"` //nolint:kubeapilinter // requiredfields: a time is text in JSON, and never zero here

	// succeed is true after a successful import.
	// +required
	Succeed bool `json:"succeed"` //nolint:kubeapilinter // nobools, requiredfields: the seed's own name and type, and false has to be written out

	// reason says why the import failed. Empty after a successful one.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=1024
	Reason string `json:"reason,omitempty"`
}

// MirroredImage is a generation with a tag of its number in the internal registry, or with a copy about to start.
type MirroredImage struct {
	// generation is the number of the import, and the tag.
	// +required
	// +kubebuilder:validation:Minimum=0
	Generation int64 `json:"generation"` //nolint:kubeapilinter // requiredfields: 0 is the first generation and has to be written out

	// imageReference is the image there, by its digest.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=768
	ImageReference string `json:"imageReference,omitempty"` //nolint:kubeapilinter // noreferences: the seed's own name
}

// TagStatus is the state that Tagger has observed.
type TagStatus struct {
	// conditions are Ready, whether the wanted generation is in use; Stalled, whether only an edit can fix a failure; and
	// Mirrored, whether the generation in use, if it is cached, is in the internal registry.
	// +optional
	// +listType=map
	// +listMapKey=type
	// +kubebuilder:validation:MaxItems=8
	Conditions []metav1.Condition `json:"conditions,omitempty"`

	// observedGeneration is the metadata.generation for which this status was computed.
	// +optional
	// +kubebuilder:validation:Minimum=1
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`

	// generation is the generation that workloads use now. Not set before the first import.
	// +optional
	// +kubebuilder:validation:Minimum=0
	Generation *int64 `json:"generation,omitempty"`

	// digest is the digest of the image that workloads use now, for kubectl get.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=256
	Digest string `json:"digest,omitempty"`

	// references are the imported generations that are kept, newest first.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=25
	References []Reference `json:"references,omitempty"` //nolint:kubeapilinter // noreferences: the seed's own name

	// mirrored are the generations with a tag in the internal registry. Tagger deletes the image of one without a reference
	// there once no workload uses it.
	// +optional
	// +listType=map
	// +listMapKey=generation
	// +kubebuilder:validation:MaxItems=100
	Mirrored []MirroredImage `json:"mirrored,omitempty"`

	// lastImportAttempt is the outcome of the last import.
	// +optional
	LastImportAttempt *ImportAttempt `json:"lastImportAttempt,omitempty"` //nolint:kubeapilinter // optionalfields: nil says that none was made

	// lastHandledRequest is the last handled value of the annotation images.io/requested-check.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=256
	LastHandledRequest string `json:"lastHandledRequest,omitempty"`
}

// Tag names an image tag in a remote registry and pins it to digests, generation by generation.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:path=tags,singular=tag,shortName=tg
// +kubebuilder:printcolumn:name="From",type=string,JSONPath=`.spec.from`
// +kubebuilder:printcolumn:name="Generation",type=integer,JSONPath=`.status.generation`
// +kubebuilder:printcolumn:name="Cached",type=boolean,JSONPath=`.spec.cache`
// +kubebuilder:printcolumn:name="Digest",type=string,JSONPath=`.status.digest`
// +kubebuilder:printcolumn:name="Ready",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].status`
// +kubebuilder:printcolumn:name="Reason",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].reason`,priority=1
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
// +kubebuilder:validation:XValidation:rule="!has(self.spec.generation) || (has(oldSelf.spec.generation) && self.spec.generation == oldSelf.spec.generation) || !has(self.status) || !has(self.status.references) || size(self.status.references) == 0 || self.status.references.exists(r, r.generation == self.spec.generation) || self.status.references.all(r, r.generation < self.spec.generation) && self.status.references.exists(r, r.generation + 1 == self.spec.generation)",message="spec.generation must be one of the generations in status.references, or the newest one plus 1",reason=FieldValueInvalid,fieldPath=".spec.generation"
// +kubebuilder:validation:XValidation:rule="!has(self.spec.generation) || self.spec.generation <= 1000000000000 || has(self.status) && has(self.status.references) && size(self.status.references) > 0 || oldSelf.hasValue() && has(oldSelf.value().spec.generation) && oldSelf.value().spec.generation == self.spec.generation",optionalOldSelf=true,message="spec.generation of a Tag without an import must be at most 1000000000000",reason=FieldValueInvalid,fieldPath=".spec.generation"
// +kubebuilder:validation:XValidation:rule="self.metadata.name.matches('^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$')",message="the name must be a DNS label (RFC 1123), at most 63 of a-z, 0-9 and -, since workloads use it as an image"
type Tag struct {
	metav1.TypeMeta `json:",inline"`

	// metadata is standard object metadata. The name is what workloads use as their image.
	// +optional
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// spec has the image that the Tag follows, and the generation of it that workloads use.
	// +required
	Spec TagSpec `json:"spec,omitzero"`

	// status is the state that Tagger has observed.
	// +optional
	Status TagStatus `json:"status,omitzero"` //nolint:kubeapilinter // optionalfields: a new Tag has an empty one
}

// TagList is a list of Tags.
//
// +kubebuilder:object:root=true
type TagList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`

	// Items are the Tags.
	Items []Tag `json:"items"`
}
