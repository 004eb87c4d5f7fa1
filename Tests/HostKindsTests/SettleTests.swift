import HostKinds
import ResourceModel
import Testing

/// What comes and goes by itself has to stay for a while before it is fought; all else is put right at once.
struct SettleTests {
    @Test(arguments: [
        ("IptablesChain", "IptablesChain/ipv4-nft-nat-OLD_CILIUM_POST_nat", 60),
        ("IptablesChain", "IptablesChain/ipv6-legacy-mangle-OLD_CILIUM_PRE-x", 60),
        ("IptablesChain", "IptablesChain/ipv4-nft-nat-CILIUM_POST_nat", 0), ("IptablesChain", "IptablesChain/ipv4-nft-nat-MY-OLD_CILIUM_x", 0),
        ("IptablesChain", "IptablesChain/nat-OLD_CILIUM_*", 0), ("IptablesChain", "IptablesChain", 0),
        ("NetworkInterface", "NetworkInterface/wlan0", 0), ("OperatingSystem", "OperatingSystem", 0),
    ])
    func eachKindSaysForHowLong(kind: String, resource: String, seconds: Int) throws {
        let kind = try #require(HostKinds.all.first { $0.name == kind })
        #expect(kind.settle(ResourceAddress(target: "pi-1", resource: resource)) == .seconds(seconds))
    }
}
