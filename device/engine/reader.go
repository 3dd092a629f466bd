package engine

import (
	"fmt"

	"signet"
	"signet/core/plan"
)

// A reader's folder follows its region like any other's. What changes in it
// here is never sent and never undone: it stays planned, so that it goes its
// way should this member be allowed to write one day.

// A readOnlyError is that of changes which this device's ring may not write.
type readOnlyError struct{ changes int }

// Error says where the changes are.
func (r *readOnlyError) Error() string {
	return fmt.Sprintf("this member may read the region and not write there: %d changes stay on this device", r.changes)
}

// Unwrap makes it a signet.ErrNotAllowed.
func (r *readOnlyError) Unwrap() error { return signet.ErrNotAllowed }

// ErrorKind and ErrorHint are for the command line.
func (r *readOnlyError) ErrorKind() string { return "read_only" }
func (r *readOnlyError) ErrorHint() string {
	return "nothing is lost, and what others write arrives; who manages the region can let this member write"
}

// mayNot is the error of changes that the region is not to get from this
// device, if so. With the lock held.
func (r *openRegion) mayNot(changes int) error {
	if r.MayWrite() {
		return nil
	}
	return &readOnlyError{changes}
}

// mayNot is the error of a plan that would change the region.
func (v *volume) mayNot(p *plan.Plan) error {
	v.d.mu.Lock()
	defer v.d.mu.Unlock()
	if len(p.Up) == 0 {
		return nil
	}
	return v.region.mayNot(len(p.Up))
}
