package import Forge
package import Reporting

/// What came of planning a pull request.
package enum PlannedReport: Sendable {
    case report(PullRequestReport)
    /// Its head is not there yet, or another one is there by now.
    case early(String)
    /// The report could not be made.
    case failed(String)
}

/// What reporting on pull requests needs of the world; given by `plumb run`.
package struct PullRequestWorld: Sendable {
    package enum Situation: Sendable {
        /// - Parameter branch: What pull requests are to be merged into, `main`.
        case ready(Revision, branch: String)
        /// No revision is in force yet, or another replica leads.
        case waiting
        /// What is followed is no branch.
        case impossible(String)
    }

    package var situation: @Sendable () async -> Situation
    /// All that are open for a branch.
    package var list: @Sendable (_ branch: String) async throws(ForgeFailure) -> [PullRequest]
    package var find: @Sendable (Int) async throws(ForgeFailure) -> PullRequest
    /// Plans all of them from one observation. One that is missing in the result could not be planned.
    package var plan: @Sendable ([PullRequest], Revision) async -> [Int: PlannedReport]
    /// Looks for the comment that is there, so that posting need not.
    package var prepare: @Sendable (Int) async -> Void
    package var post: @Sendable (PullRequestReport, PullRequest) async throws(ForgeFailure) -> Published
    package var say: @Sendable (ReportStatus, PullRequest) async throws(ForgeFailure) -> Void
    /// Another replica may have posted meanwhile: what was posted last is not known any more.
    package var forget: @Sendable () async -> Void

    package init(
        situation: @escaping @Sendable () async -> Situation,
        list: @escaping @Sendable (_ branch: String) async throws(ForgeFailure) -> [PullRequest],
        find: @escaping @Sendable (Int) async throws(ForgeFailure) -> PullRequest,
        plan: @escaping @Sendable ([PullRequest], Revision) async -> [Int: PlannedReport],
        prepare: @escaping @Sendable (Int) async -> Void,
        post: @escaping @Sendable (PullRequestReport, PullRequest) async throws(ForgeFailure) -> Published,
        say: @escaping @Sendable (ReportStatus, PullRequest) async throws(ForgeFailure) -> Void,
        forget: @escaping @Sendable () async -> Void = {}
    ) {
        self.situation = situation
        self.list = list
        self.find = find
        self.plan = plan
        self.prepare = prepare
        self.post = post
        self.say = say
        self.forget = forget
    }
}
