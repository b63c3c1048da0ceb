// Placeholder
import { t } from '../i18n.js';
export const nowPage = () => ({ title: t('now.title'), nodes: [] });
