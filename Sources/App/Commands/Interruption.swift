import Applying
@preconcurrency import Dispatch
import Foundation
import Reporting
import ResourceModel
import Synchronization

/// The first Ctrl-C ends an apply in good order: what runs is finished and observed, nothing new is started. The second ends the process.
/// Both say where the apply stands.
final class Interruption: Sendable {
    private struct Standing {
        var underWay: Set<ResourceAddress> = []
        var waiting: Set<ResourceAddress> = []
    }

    private let requested = Atomic(false)
    private let standing = Mutex(Standing())
    private let sources: [any DispatchSourceSignal]

    init(terminal: Terminal) {
        let queue = DispatchQueue(label: "plumb.signals")
        sources = [SIGINT, SIGTERM].map { signal(of: $0, queue: queue) }
        for source in sources {
            source.setEventHandler { [weak self] in
                guard let self else { return }
                if self.requested.exchange(true, ordering: .relaxed) {
                    terminal.writeError("\nstopped at once\n" + self.left)
                    _exit(130)
                }
                terminal.writeError("\nfinishing what is under way; interrupt again to stop at once\n" + self.left)
            }
            source.resume()
        }
    }

    var isRequested: Bool { requested.load(ordering: .relaxed) }

    /// Takes note of how far the apply is.
    func follow(_ event: ApplyEvent) {
        standing.withLock { standing in
            switch event {
            case .planned(let address, _): standing.waiting.insert(address)
            case .started(let address):
                standing.waiting.remove(address)
                standing.underWay.insert(address)
            case .succeeded(let address, _), .failed(let address, _), .skipped(let address, _), .rolledBack(let address, _),
                .stale(let address, _), .unneeded(let address), .unplanned(let address, _):
                standing.waiting.remove(address)
                standing.underWay.remove(address)
            case .drifted, .summary: break
            }
        }
    }

    func end() {
        for source in sources { source.cancel() }
        for number in [SIGINT, SIGTERM] { Foundation.signal(number, SIG_DFL) }
    }

    /// What is under way and what was not begun, for a person.
    private var left: String {
        let standing = standing.withLock { $0 }
        var text = ""
        for (words, addresses) in [("under way", standing.underWay), ("not started", standing.waiting)] where !addresses.isEmpty {
            let shown = addresses.sorted().prefix(20).map { Escaping.shown($0.description) }
            let more = addresses.count > shown.count ? " and \(addresses.count - shown.count) more" : ""
            text += "    \(words): \(shown.joined(separator: ", "))\(more)\n"
        }
        return text + "    To go on, apply again: everything is observed anew.\n"
    }
}

private func signal(of number: Int32, queue: DispatchQueue) -> any DispatchSourceSignal {
    Foundation.signal(number, SIG_IGN)
    return DispatchSource.makeSignalSource(signal: number, queue: queue)
}
