//go:build linux && !race

package script

import "testing"

func TestStories(t *testing.T) { stories(t, nil) }
