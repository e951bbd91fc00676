package relay

// StopsWithin is the longest time from the order to stop until the relay has ended its links. Its
// ports close two seconds later at most. A supervisor must not kill the relay before its ports have
// closed.
const StopsWithin = drainTime + byeTime
