package owner

// SetHistoryMost changes how many events a history holds, and returns what it was.
func SetHistoryMost(n int) (was int) {
	was, historyMost = historyMost, n
	return was
}
