//go:build !grants

package journal_test

import "testing"

// Until what a removed device granted can be undone, a grant is nothing: the
// service refuses it, and a device that is shown one all the same passes over
// it, whoever signed it.
func TestAGrantIsReserved(t *testing.T) {
	grants := named(t, "journal-grant")
	for _, name := range []string{"ok-grant", "grant-to-nobody"} { // both follow what is no grant
		if got := replay(t)(grants[name]); got != "invalid: malformed" {
			t.Errorf("%s is %s", name, got)
		}
	}
}

func writeMore(*testing.T) {} // the vectors of grants are written with the tag
