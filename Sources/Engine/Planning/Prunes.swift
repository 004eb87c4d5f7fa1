import ResourceModel

/// `--max-deletes` where it is not given. A folder that was emptied by mistake has more files than this.
package let defaultMaxDeletes = 10

extension Plan {
    /// Takes back the prunes of each target at which something else can't be made as declared.
    ///
    /// A renamed object is one to create and one to prune: where the new one can't be made, the old one has to stay. What others hold
    /// (`held`, `contested`) stays so for good and is no reason to wait.
    mutating func withholdPrunes(undeclared: Set<ResourceAddress>) {
        var obstacles: [String: [Problem]] = [:]
        for problem in problems {
            if let address = problem.address, undeclared.contains(address) { continue }
            if [.held, .contested].contains(problem.status) { continue }
            obstacles[problem.target, default: []].append(problem)
        }
        let withheld = actions.filter { $0.isUndeclared && obstacles[$0.address.target] != nil }
        guard !withheld.isEmpty else { return }
        actions.removeAll { $0.isUndeclared && obstacles[$0.address.target] != nil }
        for action in withheld {
            let causes = obstacles[action.address.target] ?? []
            let first = causes.first.map { "\($0.address?.description ?? $0.target) (\($0.status.rawValue))" } ?? ""
            let more = causes.count > 1 ? " and \(causes.count - 1) more" : ""
            problems.append(
                Problem(
                    target: action.address.target,
                    address: action.address,
                    status: .blocked,
                    message: "no longer declared; it stays until all else at \(action.address.target) is as declared: waits for \(first)\(more)"
                )
            )
        }
    }

    /// Refuses the plan whole where it prunes more than it may.
    mutating func refuse(above limit: Int) {
        let prunes = actions.filter(\.isPrune).map(\.address)
        guard prunes.count > limit, let first = prunes.first else { return }
        let shown = prunes.prefix(5).map(\.description).joined(separator: ", ") + (prunes.count > 5 ? " and \(prunes.count - 5) more" : "")
        let what = prunes.count == 1 ? "1 object that is" : "\(prunes.count) objects that are"
        let message =
            "\(what) no longer declared would be deleted, more than --max-deletes \(limit) allows: \(shown). The plan is refused whole, nothing is done. "
            + "If that is what you want, give --max-deletes \(prunes.count), or take some at a time with --target; if not, look where the specs went"
        refusal = message
        problems.append(Problem(target: first.target, status: .invalid, message: message))
    }
}
