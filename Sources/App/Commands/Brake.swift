import Foundation
import Planning
import Reconciling
import ResourceModel
import Stores

/// What `plumb pause` has paused in this data directory, read anew each time it is asked: a brake that is pulled counts from the next action on.
struct Brake: Sendable {
    let store: PauseStore
    /// What other replicas have paused, put together with what is paused here.
    var together: @Sendable ([Pause]) -> [Pause] = { $0 }

    init(dataDirectory: String?, journal: Journal? = nil) {
        store = PauseStore(in: dataDirectory.flatMap { $0.isEmpty ? nil : DataDirectory(existing: $0) }, through: journal)
    }

    func pauses(at now: Date = Date()) throws(StoreFailure) -> [Pause] { together(try store.active(at: now).map(Pause.init)) }

    /// Why this action may not start now; nil: it may. Where it can't be known what is paused, nothing starts.
    func objection(to action: Action, at now: Date = Date()) -> Problem? {
        func problem(_ status: ProblemStatus, _ message: String) -> Problem {
            Problem(target: action.address.target, address: action.address, status: status, message: message)
        }
        do throws(StoreFailure) {
            return try pauses(at: now).pause(of: action.address).map { problem(.held, $0.message()) }
        } catch {
            return problem(.blocked, "what is paused can't be known: \(error.message)")
        }
    }

    /// The same for actions that no pass has planned.
    func verdicts(on actions: [Action], at now: Date = Date()) -> [ResourceAddress: Withheld] {
        actions.reduce(into: [:]) { verdicts, action in
            verdicts[action.address] = objection(to: action, at: now).map { Withheld($0.status, $0.message) }
        }
    }
}

extension Pause {
    init(_ record: PauseRecord) {
        self.init(
            Scope(record.scope),
            reason: record.reason,
            by: "\(record.user)@\(record.host)",
            since: Moment(record.since),
            until: record.until.map(Moment.init),
            origin: .command
        )
    }
}

extension Pause.Scope {
    init(_ scope: PauseRecord.Scope) {
        switch scope {
        case .addresses(let glob): self = .addresses(glob)
        case .host(let name): self = .target(name)
        case .all: self = .all
        }
    }
}

extension Moment {
    init(_ date: Date) { self.init(milliseconds: Int64((date.timeIntervalSince1970 * 1000).rounded())) }
}
