import DriftDetection
import Planning
package import ResourceModel

/// What a changed target looks like before its change is confirmed.
package enum ChangedState: Sendable, Hashable {
    case asDeclared
    case differs(String)
    case unobservable(String)
}

/// How an action ended that was made with an undo armed at its target. What it is worth is decided by observing.
package enum RiskyEnding: Sendable, Hashable {
    /// It stays.
    case confirmed
    /// Nothing was changed.
    case refused(Problem)
    /// The target took it back, or was to; why.
    case undone(String)
    /// It is not known what the target did; the message says what to expect.
    case unknown(Problem)
}

extension BatchRun {
    /// Whether one action has brought what it is for.
    func look(at action: Action, target: Target) async -> ChangedState {
        let batch = ApplySchedule.Batch(target: action.address.target, actions: [action])
        switch await observe(batch, at: target) {
        case .failure(let problem): return .unobservable(problem.message)
        case .success(let drift):
            switch outcome(of: action, after: drift.first { $0.address == action.address }, all: drift, failure: nil) {
            case .succeeded: return .asDeclared
            case .failed(let message), .skipped(let message), .rolledBack(let message): return .differs(message)
            }
        }
    }

    /// What an action that was taken back, or was to be, has come to.
    ///
    /// - Guarantees: rolled back is only what would be planned again just as it was: the same differences, the same steps, the same undo.
    func outcome(ofUndone action: Action, after: ResourceDrift?, all: [ResourceDrift], why: String) -> ActionOutcome {
        if let after, after.differences == action.fields,
            kinds[action.handler]?.change(after) == Change(steps: action.steps, risk: action.risk)
        {
            return .rolledBack("\(why). It is as it was before.")
        }
        switch outcome(of: action, after: after, all: all, failure: nil) {
        case .succeeded: return .succeeded("is as declared, although \(why)")
        case .failed(let message), .skipped(let message), .rolledBack(let message):
            return .failed("\(why). It should have been undone, but is not as it was before: \(message)")
        }
    }
}
