package v1

// Annotations of workloads.
const (
	// AnnotationEnabled opts a workload in when its value is "true".
	AnnotationEnabled = "image-tag"

	// AnnotationPinned is the record of what was pinned: a JSON object, container name to tag, image and pullPolicy.
	// Only admission writes it.
	AnnotationPinned = "images.io/pinned"

	// AnnotationRequested carries the references that the workload controller wants in the template.
	// Admission carries it out and removes it in the same request.
	AnnotationRequested = "images.io/requested"

	// AnnotationKeepPullPolicy leaves imagePullPolicy alone when its value is "true".
	AnnotationKeepPullPolicy = "images.io/keep-pull-policy"
)

// Annotations of Tags.
const (
	// AnnotationRequestedGeneration asks for a generation without owning spec.generation, so that the next
	// server-side apply does not conflict. Admission moves spec.generation and removes it in the same request.
	AnnotationRequestedGeneration = "images.io/requested-generation"

	// AnnotationDeclaredGeneration is the generation that an applied manifest declared last. Admission writes it.
	AnnotationDeclaredGeneration = "images.io/declared-generation"

	// AnnotationTrigger says what brought the generation that Tagger asked for itself, such as "4=Poll".
	AnnotationTrigger = "images.io/trigger"

	// AnnotationAdmittedSource is what spec.from and spec.cache were when admission saw the Tag last. Another source has not
	// been admitted, and no generation was made for it.
	AnnotationAdmittedSource = "images.io/admitted-source"

	// AnnotationRequestedCheck asks for one check of the registry; every new value is a new request.
	AnnotationRequestedCheck = "images.io/requested-check"
)

// FinalizerMirror keeps a Tag that is deleted until what it has in the internal registry is taken away there, or was tried to.
const FinalizerMirror = "images.io/mirror"

// MaxRequestLength is how long a requested check may be to be kept as it is, in bytes. Of a longer one the hash is kept.
const MaxRequestLength = 256

// FieldManager is the name under which Tagger writes (KEP-555).
const FieldManager = "tagger"
