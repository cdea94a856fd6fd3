// The CustomResourceDefinitions of the Gateway API, to which a test applies config/samples/push.
module github.com/images-io/tagger/hack/tools/gatewayapi

go 1.26

require sigs.k8s.io/gateway-api v1.5.1
