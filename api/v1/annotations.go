package v1

// Annotations of workloads.
const (
	// AnnotationEnabled opts a workload in when its value is "true".
	AnnotationEnabled = "image-tag"

	// AnnotationPinned is the record of pinned images: a JSON object, container name to tag, image and pullPolicy. Only
	// admission writes it.
	AnnotationPinned = "images.io/pinned"

	// AnnotationRequested has the references that the workload controller requests for the template. Admission applies and
	// removes it in the same request.
	AnnotationRequested = "images.io/requested"

	// AnnotationKeepPullPolicy keeps imagePullPolicy unchanged when its value is "true".
	AnnotationKeepPullPolicy = "images.io/keep-pull-policy"
)

// Annotations of Tags.
const (
	// AnnotationRequestedGeneration requests a generation without owning spec.generation, so that the next server-side apply
	// does not conflict. Admission sets spec.generation and removes the annotation in the same request.
	AnnotationRequestedGeneration = "images.io/requested-generation"

	// AnnotationDeclaredGeneration is the generation that an applied manifest declared last. Admission writes it.
	AnnotationDeclaredGeneration = "images.io/declared-generation"

	// AnnotationTrigger is the trigger of a generation that Tagger requested itself, such as "4=Poll".
	AnnotationTrigger = "images.io/trigger"

	// AnnotationAdmittedSource has spec.from and spec.cache as admission saw them last. Another source has not been admitted,
	// and has no generation yet.
	AnnotationAdmittedSource = "images.io/admitted-source"

	// AnnotationRequestedCheck requests one check of the registry; every new value is a new request.
	AnnotationRequestedCheck = "images.io/requested-check"
)

// Prefixes of requested checks. A value with another prefix, or with none, is a push.
const (
	// PushRequestPrefix is the prefix of a check that a push notification requested.
	PushRequestPrefix = "push/"
	// UserRequestPrefix is the prefix of a check that a user requested.
	UserRequestPrefix = "user/"
)

// FinalizerMirror keeps a deleted Tag until Tagger has deleted its images in the internal registry, or has given up.
const FinalizerMirror = "images.io/mirror"

// MaxRequestLength is the largest length of a requested check that is stored as it is, in bytes. Of a longer one the hash is
// stored.
const MaxRequestLength = 256

// FieldManager is Tagger's name in managedFields (KEP-555).
const FieldManager = "tagger"
