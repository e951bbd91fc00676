package relay

// StopsWithin is the longest time that a stopping relay serves. Its ports close within a second or
// two more. A supervisor must leave the relay that time.
const StopsWithin = drainTime + byeTime
