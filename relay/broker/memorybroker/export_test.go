package memorybroker

import "strconv"

// String describes what is kept.
func (m *Memory) String() string {
	m.Mu.Lock()
	defer m.Mu.Unlock()
	return strconv.Itoa(m.Histories.len()) + " histories, " + strconv.Itoa(m.Positions.len()) + " positions, " +
		strconv.Itoa(m.Marks.len()) + " marks, " + strconv.Itoa(len(m.subscribers)) + " topics subscribed"
}
