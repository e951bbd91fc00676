package relay

// StopsWithin is the longest time that a stopping relay serves. Its ports close within one or two
// seconds after that. A supervisor must not kill the relay before then.
const StopsWithin = drainTime + byeTime
