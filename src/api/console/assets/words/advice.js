// How to fix the codes of Chat that stop all calls, in Chinese; the service itself says it in English.
// Codes: src/chat/error_codes.rs.

const ADMIN = '请在即时通信 IM 控制台把 chat.admin_account 设为该应用的管理员。';
const KEY = '请检查 chat.sdk_app_id 与 chat.secret_key 是否属于同一个应用。';
const PLAN = '请升级到旗舰版或企业版（Pro、Pro Plus 或 Enterprise）。';
const APP = '请检查 chat.sdk_app_id，以及应用在控制台中的状态。';

export default {
  10007: '请使用管理员账号作为 chat.admin_account，在控制台开启“直播群在线成员列表”，并确认该群是直播群（AVChatRoom）。',
  10012: ADMIN,
  10016: '请让应用的回调后台放行 chat.admin_account 的调用。',
  10026: '请联系腾讯云为该应用开通此命令。',
  10036: PLAN,
  10058: PLAN,
  10059: PLAN,
  60006: APP,
  60009: '请检查 chat.base_url：通常只含协议和域名，不含路径。',
  60010: ADMIN,
  60016: APP,
  60017: '请联系腾讯云为该应用开通此调用。',
  60020: '请续费或付清套餐费用；约五分钟后调用恢复。',
  60021: '请在控制台把本机的出口 IP 加入允许列表。',
  60026: '请把 chat.region（或 chat.base_url）设为应用所在的地域。',
  60028: PLAN,
  70009: KEY,
  70013: ADMIN,
  70014: KEY,
  70016: '请在控制台生成用于 UserSig 的密钥。',
  70020: APP,
  70051: ADMIN,
  70403: ADMIN,
  72001: '请在控制台开启用户状态查询与状态变更通知。',
};
