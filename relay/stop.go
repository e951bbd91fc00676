package relay

// StopsWithin bounds the time from the order to stop until the relay has ended its links. Its ports
// may close up to two seconds later. A supervisor should not kill the relay before its ports are
// closed.
const StopsWithin = drainTime + byeTime
