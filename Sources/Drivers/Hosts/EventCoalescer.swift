/// Puts together what happens in quick succession: the first of a burst is told at once, then all since the last time, at most once each `pause`; the
/// last one is always told.
struct EventCoalescer<Item: Hashable & Sendable>: Sendable {
    enum Due: Hashable, Sendable {
        case items([Item])
        /// More than is told one by one.
        case all
    }

    /// Between two that are told.
    static var pause: Duration { .milliseconds(100) }
    /// The same after too much.
    static var longPause: Duration { .seconds(1) }
    /// More than these at once are not told one by one.
    static var mostItems: Int { 256 }

    private var items: [Item] = []
    private var known: Set<Item> = []
    private var isAll = false
    private var notBefore: ContinuousClock.Instant

    init(at now: ContinuousClock.Instant) { notBefore = now }

    mutating func note(_ item: Item) {
        if isAll || !known.insert(item).inserted { return }
        items.append(item)
        if items.count > Self.mostItems { noteAll() }
    }

    mutating func noteAll() {
        isAll = true
        items = []
        known = []
    }

    /// What is to be told now.
    mutating func take(at now: ContinuousClock.Instant) -> Due? {
        guard let next, next <= now else { return nil }
        defer {
            items = []
            known = []
            isAll = false
        }
        notBefore = now + (isAll ? Self.longPause : Self.pause)
        return isAll ? .all : .items(items)
    }

    /// When there is something to be told; nil: there is nothing.
    var next: ContinuousClock.Instant? {
        isAll || !items.isEmpty ? notBefore : nil
    }
}
