package import ResourceModel

/// What is to be looked at, when, and never twice at once: the queue of the continuous mode. A value; the time comes in, counted from any fixed point.
///
/// - Guarantees: of one target at most one piece of work is under way. Equal requests are merged: the earliest time wins, and the whole target
///   takes in its parts. What is asked for while a target is under way comes after it. Nothing is lost.
package struct WorkQueue: Sendable {
    package enum Scope: Hashable, Sendable {
        /// All of the target, observed from scratch.
        case whole
        /// These resources; what stands at a pattern's address is the kind's business.
        case parts(Set<ResourceAddress>)
    }

    package struct Work: Hashable, Sendable {
        package var target: String
        package var scope: Scope
        /// Why, for people, in the order in which it was asked for, each once.
        package var reasons: [String]
        /// When the first of the merged requests was made.
        package var requested: Duration
    }

    /// A target that gave no answer last time waits in a lane of its own, so that those that hang can't use up all places.
    package enum Lane: Hashable, Sendable {
        case healthy
        case suspect
    }

    private struct Entry {
        var scope: Scope
        var reasons: [String]
        var requested: Duration
        var due: Duration
    }

    /// Pieces of work under way at the same time, by lane.
    package var limits: [Lane: Int]
    private var waiting: [String: Entry] = [:]
    private var underWay: [String: Lane] = [:]
    private var suspects: Set<String> = []

    package init(healthy: Int, suspect: Int) {
        limits = [.healthy: max(1, healthy), .suspect: max(1, suspect)]
    }

    /// How many targets wait for their time or a place.
    package var depth: Int { waiting.count }

    package var isIdle: Bool { underWay.isEmpty }

    package func isUnderWay(_ target: String) -> Bool { underWay[target] != nil }

    /// When the work that waits for a target is due; nil: none does.
    package func due(_ target: String) -> Duration? { waiting[target]?.due }

    package mutating func request(_ target: String, _ scope: Scope, because reason: String, at now: Duration, due: Duration? = nil) {
        let due = max(due ?? now, now)
        guard var entry = waiting[target] else {
            waiting[target] = Entry(scope: scope, reasons: [reason], requested: now, due: due)
            return
        }
        switch (entry.scope, scope) {
        case (.whole, _): break
        case (_, .whole): entry.scope = .whole
        case (.parts(let some), .parts(let more)): entry.scope = .parts(some.union(more))
        }
        if !entry.reasons.contains(reason), entry.reasons.count < 8 { entry.reasons.append(reason) }
        entry.due = min(entry.due, due)
        waiting[target] = entry
    }

    /// The next piece of work that may start now; nil: none. The one that is due the longest comes first.
    package mutating func next(at now: Duration) -> Work? {
        var counts: [Lane: Int] = [:]
        for lane in underWay.values { counts[lane, default: 0] += 1 }
        let ready = waiting.filter { target, entry in
            entry.due <= now && underWay[target] == nil && counts[lane(of: target), default: 0] < limits[lane(of: target), default: 1]
        }
        guard let (target, entry) = ready.min(by: { ($0.value.due, $0.key) < ($1.value.due, $1.key) }) else { return nil }
        waiting[target] = nil
        underWay[target] = lane(of: target)
        return Work(target: target, scope: entry.scope, reasons: entry.reasons, requested: entry.requested)
    }

    /// When `next` may have something that it does not have now, by the passing of time alone.
    package func nextDue(after now: Duration) -> Duration? {
        waiting.filter { underWay[$0.key] == nil && $0.value.due > now }.values.map(\.due).min()
    }

    /// - Parameter answered: Whether the target gave an answer at all.
    package mutating func finish(_ target: String, answered: Bool) {
        underWay[target] = nil
        if answered { suspects.remove(target) } else { suspects.insert(target) }
    }

    /// Forgets targets that are no longer declared; what is under way there ends by itself.
    package mutating func keep(only targets: Set<String>) {
        waiting = waiting.filter { targets.contains($0.key) }
        suspects.formIntersection(targets)
    }

    private func lane(of target: String) -> Lane { suspects.contains(target) ? .suspect : .healthy }
}

/// How long is waited before a target that failed is tried again: 1 s, then twice as long each time, up to the limit, each shortened by up to half
/// at random so that many don't come back at the same moment.
package struct RetryDelays: Sendable {
    package var first: Duration
    package var limit: Duration

    package init(first: Duration = .seconds(1), limit: Duration = .seconds(40)) {
        self.first = first
        self.limit = limit
    }

    /// - Parameters:
    ///   - failures: In a row, this one included.
    ///   - chance: From 0 to 1.
    package func delay(failures: Int, chance: Double) -> Duration {
        let full = min(limit, first * (1 << min(max(failures, 1) - 1, 16)))
        return full * (1 - min(max(chance, 0), 1) / 2)
    }
}
