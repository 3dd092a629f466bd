package control

import (
	"fmt"
	"os"
)

// ownUser fails unless uid is this process's user or root, who can do anything
// on this machine anyhow.
func ownUser(uid int) error {
	if uid == os.Getuid() || uid == 0 {
		return nil
	}
	return fmt.Errorf("control socket: the other end belongs to user %d", uid)
}
