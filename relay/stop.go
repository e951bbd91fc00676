package relay

// StopsWithin is how long a relay that was told to stop may still serve. Its ports close within a second or two more. What starts relays has to
// leave them that time.
const StopsWithin = drainTime + byeTime
