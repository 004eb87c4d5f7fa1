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
        var parts: Set<ResourceAddress> = []
        /// With when each asks for it.
        private var reasons: [(words: String, due: Duration)] = []
        var requested: Duration
        var due: Duration

        init(requested: Duration, due: Duration) {
            self.requested = requested
            self.due = due
        }

        /// Why it is done now: what would only have asked for it later is no reason.
        func reasons(at now: Duration) -> [String] { reasons.filter { $0.due <= now }.map(\.words) }

        mutating func merge(_ reason: String, due: Duration, parts: Set<ResourceAddress>) {
            if let index = reasons.firstIndex(where: { $0.words == reason }) {
                reasons[index].due = min(reasons[index].due, due)
            } else if reasons.count < 8 {
                reasons.append((reason, due))
            }
            self.due = min(self.due, due)
            self.parts.formUnion(parts)
        }
    }

    /// What waits for one target. Both have their own time: an event does not bring forward the look at everything.
    private struct Waiting {
        var whole: Entry?
        var parts: Entry?

        var due: Duration? { [whole?.due, parts?.due].compactMap(\.self).min() }
    }

    /// Pieces of work under way at the same time, by lane.
    package var limits: [Lane: Int]
    private var waiting: [String: Waiting] = [:]
    private var underWay: [String: Lane] = [:]
    private var suspects: Set<String> = []

    package init(healthy: Int, suspect: Int) {
        limits = [.healthy: max(1, healthy), .suspect: max(1, suspect)]
    }

    /// How many targets wait for a place, their time having come.
    package func depth(at now: Duration) -> Int { waiting.values.count { $0.due.map { $0 <= now } ?? false } }

    package var isIdle: Bool { underWay.isEmpty }

    package func isUnderWay(_ target: String) -> Bool { underWay[target] != nil }

    /// When the work that waits for a target is due; nil: none does.
    package func due(_ target: String) -> Duration? { waiting[target]?.due }

    package mutating func request(_ target: String, _ scope: Scope, because reason: String, at now: Duration, due: Duration? = nil) {
        let due = max(due ?? now, now)
        var entry = waiting[target] ?? Waiting()
        switch scope {
        case .whole:
            if entry.whole == nil { entry.whole = Entry(requested: now, due: due) }
            entry.whole?.merge(reason, due: due, parts: [])
        case .parts(let parts):
            if entry.parts == nil { entry.parts = Entry(requested: now, due: due) }
            entry.parts?.merge(reason, due: due, parts: parts)
        }
        waiting[target] = entry
    }

    /// The next piece of work that may start now; nil: none. The one that is due the longest comes first.
    package mutating func next(at now: Duration) -> Work? {
        var counts: [Lane: Int] = [:]
        for lane in underWay.values { counts[lane, default: 0] += 1 }
        var first: (due: Duration, target: String)?
        for (target, entry) in waiting {
            guard let due = entry.due, due <= now, underWay[target] == nil, first.map({ (due, target) < $0 }) ?? true else { continue }
            let lane = lane(of: target)
            if counts[lane, default: 0] < limits[lane, default: 1] { first = (due, target) }
        }
        guard let target = first?.target, let entry = waiting.removeValue(forKey: target) else { return nil }
        underWay[target] = lane(of: target)
        if let whole = entry.whole, whole.due <= now {
            let parts = entry.parts?.due ?? .zero <= now ? entry.parts : nil
            let own = whole.reasons(at: now)
            let reasons = own + (parts?.reasons(at: now) ?? []).filter { !own.contains($0) }
            // A part with a later time has one for a reason: something has to be seen again then.
            if parts == nil, entry.parts != nil { waiting[target] = Waiting(parts: entry.parts) }
            return Work(target: target, scope: .whole, reasons: reasons, requested: min(whole.requested, parts?.requested ?? whole.requested))
        }
        guard let parts = entry.parts else { return nil }
        if entry.whole != nil { waiting[target] = Waiting(whole: entry.whole) }
        return Work(target: target, scope: .parts(parts.parts), reasons: parts.reasons(at: now), requested: parts.requested)
    }

    /// When `next` may have something that it does not have now, by the passing of time alone.
    package func nextDue(after now: Duration) -> Duration? {
        var next: Duration?
        for (target, entry) in waiting where underWay[target] == nil {
            for due in [entry.whole?.due, entry.parts?.due] {
                if let due, due > now { next = min(next ?? due, due) }
            }
        }
        return next
    }

    /// - Parameter answered: Whether the target gave an answer at all.
    package mutating func finish(_ target: String, answered: Bool) {
        underWay[target] = nil
        if answered { suspects.remove(target) } else { suspects.insert(target) }
    }

    /// Something else says that it may give no answer.
    package mutating func suspect(_ target: String) { suspects.insert(target) }

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
