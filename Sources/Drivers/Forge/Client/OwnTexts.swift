/// Who wrote what is ours.
enum OwnAuthor: Hashable, Sendable {
    case account(String)
    /// The token does not say; at GitHub it is an App's, and only who runs one writes as a bot.
    case anyBot

    func isAuthor(_ user: ForgeUser?) -> Bool {
        guard let user else { return false }
        switch self {
        case .account(let login): return user.login.lowercased() == login.lowercased()
        case .anyBot: return user.isBot
        }
    }
}

/// What to do so that there is one comment, and it says what it should.
struct CommentPlan: Hashable, Sendable {
    enum Action: Hashable, Sendable {
        case create
        case keep(Int64)
        case update(Int64)
    }

    var action: Action
    /// Ours, and too many: two of us had looked at the same time. The oldest stays, to which others may have linked.
    var surplus: [Int64]

    /// - Parameter own: all that are ours.
    init(own: [ForgeComment], text: String) {
        let sorted = own.sorted { $0.id < $1.id }
        surplus = sorted.dropFirst().map(\.id)
        guard let first = sorted.first else {
            action = .create
            return
        }
        action = ReportMarker.isSame(first.text, text) ? .keep(first.id) : .update(first.id)
    }
}

/// What to do so that there is one issue while there is drift, and no open one otherwise.
struct IssuePlan: Hashable, Sendable {
    enum Action: Hashable, Sendable {
        case nothing
        case create
        case keep(Int)
        case update(Int)
        case reopen(Int)
        case close(Int)
    }

    var action: Action
    /// Ours, open, and too many.
    var surplus: [Int]

    init(own: [ForgeIssue], opens: Bool, title: String, text: String) {
        let sorted = own.sorted { $0.number < $1.number }
        // One that is open is where people talk; else the oldest, so that its history goes on.
        guard let chosen = sorted.first(where: \.isOpen) ?? sorted.first else {
            action = opens ? .create : .nothing
            surplus = []
            return
        }
        surplus = sorted.filter { $0.isOpen && $0.number != chosen.number }.map(\.number)
        switch (opens, chosen.isOpen) {
        case (true, false): action = .reopen(chosen.number)
        case (false, true): action = .close(chosen.number)
        case (false, false): action = .nothing
        case (true, true):
            let isSame = chosen.title == title && ReportMarker.isSame(chosen.text, text)
            action = isSame ? .keep(chosen.number) : .update(chosen.number)
        }
    }
}

/// What was said last, so that it need neither be looked for nor said again. Whatever is in it may be wrong by now: somebody may have deleted a comment.
struct ReportMemory: Sendable {
    struct Comment: Sendable {
        var id: Int64
        var text: String
        var searchedAt: ContinuousClock.Instant
    }

    /// After this time all pages are searched again.
    private static let lifetime = Duration.seconds(3600)
    /// That there is none is believed for this long.
    private static let absence = Duration.seconds(300)
    private static let limit = 1000

    private var comments: [Int: Comment] = [:]
    private var statuses: [String: ReportStatus] = [:]
    private var absences: [Int: ContinuousClock.Instant] = [:]

    func comment(on number: Int, at now: ContinuousClock.Instant) -> Comment? {
        comments[number].flatMap { now - $0.searchedAt < Self.lifetime ? $0 : nil }
    }

    mutating func remember(_ comment: Comment?, on number: Int) {
        if comments.count >= Self.limit, comments[number] == nil { comments.removeAll(keepingCapacity: true) }
        comments[number] = comment
    }

    /// Whether all pages were searched a short while ago, and there was none.
    func isKnownAbsent(on number: Int, at now: ContinuousClock.Instant) -> Bool { absences[number].map { now - $0 < Self.absence } ?? false }

    /// - Parameter now: nil: it is not known any more.
    mutating func noteAbsence(on number: Int, at now: ContinuousClock.Instant?) {
        if absences.count >= Self.limit, absences[number] == nil { absences.removeAll(keepingCapacity: true) }
        absences[number] = now
    }

    func isKnown(_ status: ReportStatus, on commit: String) -> Bool { statuses["\(commit) \(status.context)"] == status }

    mutating func remember(_ status: ReportStatus, on commit: String) {
        if statuses.count >= Self.limit { statuses.removeAll(keepingCapacity: true) }
        statuses["\(commit) \(status.context)"] = status
    }
}
