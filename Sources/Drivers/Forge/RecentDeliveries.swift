/// What was told lately, so that it need not be heard twice. A value; the time comes in, counted from any fixed point.
///
/// A delivery is known by its ID. Where there is none, and where a second hook tells of the same push, what counts is the last that was said of a ref:
/// the same again says nothing new, while an older commit that comes again may be a ref that was moved back. A notice without a commit is always news.
package struct RecentDeliveries: Sendable {
    private let window: Duration
    private let repetition: Duration
    private let limit: Int
    /// Two generations: what is older than both is forgotten at once.
    private var seen: [Set<String>] = [[], []]
    private var turned: Duration?
    private var last: [String: (commit: String, at: Duration)] = [:]

    /// - Parameters:
    ///   - window: for how long at least an ID is remembered, unless there are too many.
    ///   - repetition: for how long the same commit on the same ref is no news.
    ///   - limit: IDs that are remembered.
    package init(window: Duration = .seconds(600), repetition: Duration = .seconds(10), limit: Int = 10_000) {
        self.window = window
        self.repetition = repetition
        self.limit = max(2, limit)
    }

    /// How much is remembered.
    package var count: Int { seen[0].count + seen[1].count + last.count }

    /// Those notices of a delivery that say something new.
    package mutating func news(in delivery: WebhookDelivery, at now: Duration) -> [PushNotice] {
        guard case .pushes(let notices) = delivery.event, !wasHeard(delivery, at: now) else { return [] }
        return notices.filter { isNews($0, at: now) }
    }

    /// What a delivery says about a pull request; nil where it was heard already. A second hook is heard as well: to look twice does no harm.
    package mutating func pullRequest(in delivery: WebhookDelivery, at now: Duration) -> PullRequestNotice? {
        guard case .pullRequest(let notice) = delivery.event, !wasHeard(delivery, at: now) else { return nil }
        return notice
    }

    private mutating func wasHeard(_ delivery: WebhookDelivery, at now: Duration) -> Bool {
        guard let id = delivery.id else { return false }
        let turn = turned ?? now
        if now - turn >= window || seen[0].count >= limit / 2 {
            seen = [[], now - turn >= window + window ? [] : seen[0]]
            turned = now
        } else {
            turned = turn
        }
        let name = "\(delivery.forge.rawValue) \(id)"
        if seen[0].contains(name) || seen[1].contains(name) { return true }
        seen[0].insert(name)
        return false
    }

    private mutating func isNews(_ notice: PushNotice, at now: Duration) -> Bool {
        // A ref of one repository: that of the others is refused before it comes here.
        let ref = notice.ref ?? ""
        guard let commit = notice.commit else {
            last[ref] = nil
            return true
        }
        if let previous = last[ref], previous.commit == commit, now - previous.at < repetition { return false }
        // To forget costs no more than hearing something twice.
        if last.count >= limit, last[ref] == nil { last.removeAll(keepingCapacity: true) }
        last[ref] = (commit, now)
        return true
    }
}
