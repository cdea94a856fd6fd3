package apiaccess

import (
	"context"

	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// objectsPerPage bounds the objects that are in memory at a time. An API server stores 1.5 MiB of one at most, and takes ten
// times as much memory when it is decoded.
const objectsPerPage = 10

// EachListed calls a function for each object that the API server lists, page by page, until the function fails.
func EachListed(ctx context.Context, live client.Reader, newList func() client.ObjectList, do func(runtime.Object) error, options ...client.ListOption) error {
	for next := ""; ; {
		list := newList()
		if err := live.List(ctx, list, append([]client.ListOption{client.Limit(objectsPerPage), client.Continue(next)}, options...)...); err != nil {
			return err
		}
		if err := meta.EachListItem(list, do); err != nil {
			return err
		}
		if next = list.GetContinue(); next == "" {
			return nil
		}
	}
}
