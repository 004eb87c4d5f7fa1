package import Planning
import Reconciling
package import Reporting
package import ResourceModel

/// What differs and, as the policy says, is only reported; at all targets together.
package struct ReportedDrift: Sendable, Equatable {
    package var revision: PullRequestReport.Revision
    /// By address.
    package var actions: [Action]
    /// What could not be looked at.
    package var unread: [Problem]
    /// Which time it is that this one leads: what was said before may have been said otherwise since, by another one.
    package var term: Int
}

extension Controller {
    static let reportedOnly = Withheld(nil, "reported only, as the policy says")

    var reportsDrift: Bool { configuration.reports?.driftIssue ?? false }

    /// Each time that `reportedDrift()` may be another one, several together as one.
    package func reportedDriftChanges() -> AsyncStream<Void> {
        let (stream, continuation) = AsyncStream.makeStream(of: Void.self, bufferingPolicy: .bufferingNewest(1))
        driftChanges?.finish()
        driftChanges = continuation
        continuation.yield()
        return stream
    }

    /// nil: it is not known yet, as not all of the revision in force was looked at, or another replica is the one to say it.
    package func reportedDrift() -> ReportedDrift? {
        guard let revision, leads, targets.values.allSatisfy({ $0.observedAt == revision.label || $0.failures > 0 }) else { return nil }
        var unread: [Problem] = []
        for state in targets.values {
            let problems = state.open.compactMap { address, item -> Problem? in
                guard let status = ProblemStatus(rawValue: item.status), status.preventsReading else { return nil }
                return Problem(target: state.target.name, address: address, status: status, message: item.message)
            }
            // Of a host that may be away nothing is said, and nothing is known either.
            let isAway = state.failures > 0 && problems.isEmpty
            unread += isAway ? [Problem(target: state.target.name, status: .unreachable, message: "gave no answer")] : problems
        }
        let name = configuration.source.revision ?? revision.ref?.split(separator: "/").last.map(String.init) ?? revision.label
        return ReportedDrift(
            revision: .init(name: name, commit: revision.commit ?? ""),
            actions: targets.values.flatMap(\.reported.values).sorted { $0.address < $1.address },
            unread: unread.sorted { ($0.target, $0.address?.description ?? "") < ($1.target, $1.address?.description ?? "") },
            term: term
        )
    }

    /// Takes note of what a look at a target has found of what is only reported. Of one that gives no answer what was known stays.
    func noteReported(_ work: WorkQueue.Work, in state: inout TargetState, _ report: PassReport) {
        guard reportsDrift else { return }
        let found = Dictionary(report.reported.map { ($0.address, $0) }) { first, _ in first }
        switch work.scope {
        case .whole: state.reported = found
        case .parts(let parts):
            let globs = parts.map { AddressGlob($0.description) }
            state.reported = state.reported.filter { address, _ in !globs.contains { $0.matches(address) } }
            state.reported.merge(found) { $1 }
        }
    }

    func tellReported(_ state: TargetState, before: TargetState?) {
        guard reportsDrift else { return }
        let isSame =
            state.reported == before?.reported && state.observedAt == before?.observedAt && (state.failures > 0) == ((before?.failures ?? 0) > 0)
        if !isSame { driftChanges?.yield() }
    }
}
