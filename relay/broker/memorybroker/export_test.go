package memorybroker

import "strconv"

// String tells how many histories, positions and marks are kept, and how many topics have
// subscribers.
func (m *Memory) String() string {
	m.Mu.Lock()
	defer m.Mu.Unlock()
	return strconv.Itoa(m.Histories.len()) + " histories, " + strconv.Itoa(m.Positions.len()) + " positions, " +
		strconv.Itoa(m.Marks.len()) + " marks, " + strconv.Itoa(len(m.subscribers)) + " topics subscribed"
}
