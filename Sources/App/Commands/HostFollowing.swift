import Controller
import Hosts
import ResourceModel

extension Composition {
    /// Says what happens on a host until it is cancelled: whole events where a part can't be told.
    func follow(_ host: ResourceModel.Host, _ resources: [DesiredResource], _ tell: @escaping @Sendable (TargetEvent) -> Void) async {
        var sources: Set<HostEventSource> = []
        if resources.contains(where: { $0.handler == "NetworkInterface" }) { sources.insert(.links) }
        if resources.contains(where: { $0.handler == "IptablesChain" }) { sources.insert(.ruleset) }
        @Sendable func all(_ source: HostEventSource) -> ResourceAddress {
            ResourceAddress(target: host.name, resource: source == .links ? "NetworkInterface/*" : "IptablesChain/*")
        }
        let declared = Set(resources.filter { $0.handler == "NetworkInterface" }.map(\.address))
        await hosts.follow(HostLogin(host), sources: sources) { event in
            switch event {
            case .connected(let sources):
                for (source, why) in sources.missing.sorted(by: { $0.key.rawValue < $1.key.rawValue }) {
                    tell(.restarted("\(source.rawValue) can't be followed, and is only looked at now and then: \(why)"))
                }
                tell(.connected)
            case .links(let names):
                let touched = names.map { ResourceAddress(target: host.name, resource: "NetworkInterface/\($0)") }.filter(declared.contains)
                if !touched.isEmpty { tell(.touched(touched)) }
            case .ruleset: tell(.touched([all(.ruleset)]))
            case .throttled(let source): tell(.touched([all(source)]))
            case .lost(let failure, _): tell(.lost(failure.message))
            }
        }
    }
}
